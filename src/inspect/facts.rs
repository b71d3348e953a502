//! The facts about a file, each with a name. People get a fact as a text, and programs get it as a value of its own
//! type.

use serde_json::{Map, Value};

/// Names and values in the order in which they were found.
#[derive(Default)]
pub(super) struct Facts {
    rows: Vec<(String, String)>,
    values: Map<String, Value>,
}

impl Facts {
    /// Adds a fact that is a text for programs too.
    pub(super) fn text(&mut self, name: &str, text: impl Into<String>) {
        let text = text.into();
        self.value(name, text.clone(), text);
    }

    /// Adds a fact that has another type for programs.
    pub(super) fn value(&mut self, name: &str, text: impl Into<String>, value: impl Into<Value>) {
        self.rows.push((name.to_owned(), text.into()));
        self.values.insert(name.to_owned(), value.into());
    }

    /// Adds one of several facts of the same name. Programs get a list of them, even where there is only one.
    pub(super) fn one_of(&mut self, name: &str, text: impl Into<String>, value: impl Into<Value>) {
        self.rows.push((name.to_owned(), text.into()));
        let list = self.values.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value.into());
        }
    }

    /// Adds a fact whose name comes from the file. Programs get it in an object of its own, where it can hide no other
    /// fact.
    pub(super) fn within(
        &mut self,
        group: &str,
        name: &str,
        text: impl Into<String>,
        value: impl Into<Value>,
    ) {
        self.rows.push((name.to_owned(), text.into()));
        let object = self.values.entry(group).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(object) = object {
            object.insert(name.to_owned(), value.into());
        }
    }

    /// The rows of a table for people.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        self.rows.iter().map(|(name, text)| vec![format!("  {name}"), text.clone()]).collect()
    }

    /// The facts for programs.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        self.values.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_keep_their_types_and_no_name_hides_another() {
        let mut facts = Facts::default();
        facts.value("size", "1,024 bytes", 1024);
        facts.text("model", "nextvlad");
        facts.one_of("source", "train", json!({"stage": "train"}));
        facts.one_of("source", "test", json!({"stage": "test"}));
        facts.one_of("also", "one", "one");
        facts.within("metrics", "size", "0.5", 0.5);
        let expected = json!({
            "size": 1024,
            "model": "nextvlad",
            "source": [{"stage": "train"}, {"stage": "test"}],
            "also": ["one"],
            "metrics": {"size": 0.5},
        });
        assert_eq!(Value::Object(facts.to_json()), expected);
        assert_eq!(facts.rows().len(), 6);
        assert_eq!(facts.rows()[5], ["  size", "0.5"]);
    }
}
