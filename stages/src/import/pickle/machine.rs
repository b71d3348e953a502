//! The machine that carries out the operations of a pickle.
//!
//! Law: each operation is a bounded step. What it reads is there, and what it makes is no larger than what it read or
//! took from the stack.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::PickleError;
use super::value::{Id, Value};

/// The most operations of a pickle. A dict of arrays needs about thirty for each array.
const MAX_OPERATIONS: usize = 1 << 22;
/// The newest protocol that is known.
const NEWEST: u8 = 5;

/// The state of a pickle that is being read.
pub(super) struct Machine<'a> {
    pub(super) bytes: &'a [u8],
    /// The offset of the next byte.
    at: usize,
    /// The offset of the operation in hand.
    operation: usize,
    /// The number of bytes of text that were encoded so far.
    pub(super) encoded: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// The heights of the stack at the marks.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            operation: 0,
            encoded: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
        }
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        // Only `push` hands out ids, and values are never removed.
        &self.values[id.0 as usize]
    }

    pub(super) fn value_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    /// The text of a value, also of a text that Python 2 wrote as bytes.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        match self.value(id) {
            Value::Text(place) | Value::Bytes(place) => std::str::from_utf8(&self.bytes[place.clone()]).ok(),
            _ => None,
        }
    }

    pub(super) fn error(&self, why: impl Into<String>) -> PickleError {
        PickleError { at: self.operation, why: why.into() }
    }

    /// Runs the pickle to its end. Returns the machine, which holds the values, and the id of the whole.
    pub(super) fn run(mut self) -> Result<(Self, Id), PickleError> {
        for _ in 0..MAX_OPERATIONS {
            self.operation = self.at;
            if self.byte()? == b'.' {
                let root = self.pop()?;
                let left = self.bytes.len() - self.at;
                if left > 0 {
                    return Err(
                        self.error(format!("the pickle ends here, {left} bytes before the file does"))
                    );
                }
                return Ok((self, root));
            }
            self.step(self.bytes[self.operation])?;
        }
        Err(self.error(format!("the pickle has more than {MAX_OPERATIONS} operations")))
    }

    fn step(&mut self, code: u8) -> Result<(), PickleError> {
        match code {
            // PROTO and FRAME. The length of a frame only helps a reader of streams.
            0x80 => match self.byte()? {
                protocol if protocol <= NEWEST => Ok(()),
                protocol => Err(self
                    .error(format!("pickle protocol {protocol} is not known; protocols up to {NEWEST} are"))),
            },
            0x95 => self.length(8).and_then(|length| {
                let left = (self.bytes.len() - self.at) as u64;
                if length <= left {
                    Ok(())
                } else {
                    Err(self.error(format!("a frame has {length} bytes, but {left} are left")))
                }
            }),
            // Constants and numbers.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => self.length(1).and_then(|n| self.push(Value::Int(n as i64))),
            b'M' => self.length(2).and_then(|n| self.push(Value::Int(n as i64))),
            // Four bytes with a sign.
            b'J' => self.length(4).and_then(|n| self.push(Value::Int(i64::from(n as u32 as i32)))),
            0x8a => self.length(1).and_then(|n| self.long(n)),
            0x8b => self.length(4).and_then(|n| self.long(n)),
            b'G' => self.take(8).and_then(|_| self.push(Value::Float)),
            // Texts and bytes. The operation says how wide the length is.
            0x8c => self.length(1).and_then(|n| self.push_text(n)),
            b'X' => self.length(4).and_then(|n| self.push_text(n)),
            0x8d => self.length(8).and_then(|n| self.push_text(n)),
            b'C' | b'U' => self.length(1).and_then(|n| self.push_bytes(n)),
            b'B' | b'T' => self.length(4).and_then(|n| self.push_bytes(n)),
            0x8e | 0x96 => self.length(8).and_then(|n| self.push_bytes(n)),
            // Containers.
            b')' => self.push(Value::Tuple(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..code {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Value::Tuple(items))
            }
            b't' => self.pop_to_mark().and_then(|items| self.push(Value::Tuple(items))),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' => self.pop_to_mark().and_then(|items| self.append(items)),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])
            }
            b'u' => self.pop_to_mark().and_then(|items| self.insert(&items)),
            // Stack and memo.
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => self.top().map(|top| self.stack.push(top)),
            b'h' => self.length(1).and_then(|index| self.recall(index)),
            b'j' => self.length(4).and_then(|index| self.recall(index)),
            b'q' => self.length(1).and_then(|index| self.remember(index as u32)),
            b'r' => self.length(4).and_then(|index| self.remember(index as u32)),
            0x94 => self.remember(self.memo.len() as u32),
            // Functions.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name).and_then(|callable| self.push(Value::Callable(callable)))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (self.text(module), self.text(name)) else {
                    return Err(self.error("a function's name is not a text"));
                };
                self.global(module, name).and_then(|callable| self.push(Value::Callable(callable)))
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.set_state(object, state)
            }
            other => {
                let shown = if other.is_ascii_graphic() {
                    format!("`{}`", other as char)
                } else {
                    format!("{other:#04x}")
                };
                Err(self
                    .error(format!("the pickle has the operation {shown}, which no dict of arrays needs")))
            }
        }
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        self.take(1).map(|place| self.bytes[place.start])
    }

    /// Takes the next `count` bytes, if they are there.
    fn take(&mut self, count: u64) -> Result<Range<usize>, PickleError> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => {
                self.at += count;
                Ok(self.at - count..self.at)
            }
            _ => Err(self.error(format!("the pickle goes on for {count} bytes, but {left} are left"))),
        }
    }

    /// Takes a little-endian number of `width` bytes.
    fn length(&mut self, width: usize) -> Result<u64, PickleError> {
        let place = self.take(width as u64)?;
        let mut word = [0; 8];
        word[..width].copy_from_slice(&self.bytes[place]);
        Ok(u64::from_le_bytes(word))
    }

    /// Takes a whole number of `count` bytes with its sign, and pushes it.
    fn long(&mut self, count: u64) -> Result<(), PickleError> {
        let place = self.take(count)?;
        if count > 8 {
            return Err(self.error(format!("a whole number of {count} bytes is too long")));
        }
        let digits = &self.bytes[place];
        let sign = digits.last().is_some_and(|last| last & 0x80 != 0);
        let mut word = [if sign { 0xff } else { 0 }; 8];
        word[..digits.len()].copy_from_slice(digits);
        self.push(Value::Int(i64::from_le_bytes(word)))
    }

    /// Takes the rest of the line.
    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| self.error("a function's name has no end"))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| self.error("a function's name is not UTF-8"))
    }

    fn push_text(&mut self, length: u64) -> Result<(), PickleError> {
        let place = self.take(length)?;
        if std::str::from_utf8(&self.bytes[place.clone()]).is_err() {
            return Err(self.error("a text is not UTF-8"));
        }
        self.push(Value::Text(place))
    }

    fn push_bytes(&mut self, length: u64) -> Result<(), PickleError> {
        let place = self.take(length)?;
        self.push(Value::Bytes(place))
    }

    pub(super) fn push(&mut self, value: Value) -> Result<(), PickleError> {
        // Each operation pushes at most one value, and the number of operations is bounded.
        self.stack.push(Id(self.values.len() as u32));
        self.values.push(value);
        Ok(())
    }

    pub(super) fn push_again(&mut self, id: Id) -> Result<(), PickleError> {
        self.stack.push(id);
        Ok(())
    }

    /// The value on top of the stack. What lies below the last mark belongs to an outer container.
    fn top(&self) -> Result<Id, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| self.error("the stack is empty"))
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.error("there is no mark"))?;
        // Nothing pops below a mark.
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), PickleError> {
        let list = self.top()?;
        let Value::List(list) = self.value_mut(list) else {
            return Err(
                self.error(format!("an item is added to {}, which is not a list", self.value(list).kind()))
            );
        };
        list.extend(items);
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<(), PickleError> {
        let dict = self.top()?;
        let (pairs, odd) = items.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(self.error("a key without a value"));
        }
        let Value::Dict(dict) = self.value_mut(dict) else {
            return Err(
                self.error(format!("a key is set in {}, which is not a dict", self.value(dict).kind()))
            );
        };
        dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<(), PickleError> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Result<(), PickleError> {
        let found = u32::try_from(index).ok().and_then(|index| self.memo.get(&index));
        let found = *found
            .ok_or_else(|| self.error(format!("the pickle recalls value {index}, which it never stored")))?;
        self.push_again(found)
    }
}
