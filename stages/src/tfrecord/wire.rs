//! The protobuf wire format, as a cursor over the fields of one message.
//!
//! Laws: a field is handed out only if all of its bytes are there. Slices are borrowed, and nothing is allocated.
//!
//! The source is the Protocol Buffers encoding guide. The limits (ten-byte varints, 29-bit field numbers, nesting of
//! 100) are those of the common implementations.

/// What is wrong with the bytes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("a varint does not fit 64 bits")]
    Varint,
    #[error("the message ends inside a field")]
    Short,
    #[error("a tag has an impossible field number or wire type")]
    Tag,
    #[error("a group is not closed where it should be")]
    Group,
    #[error("a field has another wire type than its message declares")]
    Kind,
}

/// The value of one field.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

impl<'a> Value<'a> {
    /// The bytes of a length-delimited field.
    #[inline]
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Kind),
        }
    }
}

const MAX_GROUP_DEPTH: usize = 100;

/// A cursor over the fields of a message, in the order in which they were written.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field and its number, or `None` at the end of the message. Groups are skipped, because no message here
    /// declares one.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        while !self.rest.is_empty() {
            let (number, kind) = self.tag()?;
            match kind {
                3 => self.skip_group(number, MAX_GROUP_DEPTH)?,
                4 => return Err(WireError::Group),
                _ => return Ok(Some((number, self.value(kind)?))),
            }
        }
        Ok(None)
    }

    /// The next `size` bytes, if exactly `prefix` stands before them. The prefix must be made of fields.
    #[inline]
    pub(super) fn take_prefixed(&mut self, prefix: &[u8], size: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.strip_prefix(prefix)?.split_at_checked(size)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next varint of a packed field, or `None` at its end.
    #[inline]
    pub(super) fn next_packed(&mut self) -> Result<Option<u64>, WireError> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let tag = u32::try_from(self.varint()?).map_err(|_| WireError::Tag)?;
        let (number, kind) = (tag >> 3, (tag & 7) as u8);
        if number == 0 || kind > 5 { Err(WireError::Tag) } else { Ok((number, kind)) }
    }

    #[inline]
    fn value(&mut self, kind: u8) -> Result<Value<'a>, WireError> {
        match kind {
            0 => self.varint().map(Value::Varint),
            1 => self.take(8).map(|_| Value::Fixed64),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Short)?;
                self.take(length).map(Value::Bytes)
            }
            5 => {
                let (value, rest) = self.rest.split_first_chunk().ok_or(WireError::Short)?;
                self.rest = rest;
                Ok(Value::Fixed32(*value))
            }
            _ => Err(WireError::Tag),
        }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        // Nearly every tag and most lengths have one or two bytes.
        match *self.rest {
            [a, ..] if a < 0x80 => {
                self.rest = &self.rest[1..];
                Ok(u64::from(a))
            }
            [a, b, ..] if b < 0x80 => {
                self.rest = &self.rest[2..];
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                return Err(WireError::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        // The loop ends after ten bytes at the latest, with the check on the tenth.
        Err(WireError::Short)
    }

    fn skip_group(&mut self, opened: u32, depth: usize) -> Result<(), WireError> {
        let deeper = depth.checked_sub(1).ok_or(WireError::Group)?;
        while !self.rest.is_empty() {
            let (number, kind) = self.tag()?;
            match kind {
                3 => self.skip_group(number, deeper)?,
                4 if number == opened => return Ok(()),
                4 => return Err(WireError::Group),
                _ => {
                    self.value(kind)?;
                }
            }
        }
        Err(WireError::Group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, WireError> {
        let mut fields = Fields::of(message);
        std::iter::from_fn(|| fields.next().transpose()).collect()
    }

    #[test]
    fn fields_of_every_wire_type() {
        // This is the example of the encoding guide: field 1 = 150.
        assert_eq!(all(&[0x08, 0x96, 0x01]), Ok(vec![(1, Value::Varint(150))]));
        assert_eq!(all(&[0x12, 2, 7, 8]), Ok(vec![(2, Value::Bytes(&[7, 8]))]));
        assert_eq!(all(&[0x1d, 1, 2, 3, 4]), Ok(vec![(3, Value::Fixed32([1, 2, 3, 4]))]));
        assert_eq!(all(&[0x21, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(vec![(4, Value::Fixed64)]));
        let minus_one = [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(all(&minus_one), Ok(vec![(1, Value::Varint(u64::MAX))]));
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(all(&[0x08]), Err(WireError::Short));
        assert_eq!(all(&[0x08, 0x80]), Err(WireError::Short));
        assert_eq!(all(&[0x12, 3, 1, 2]), Err(WireError::Short));
        assert_eq!(all(&[0x1d, 1, 2, 3]), Err(WireError::Short));
        assert_eq!(all(&[0x00]), Err(WireError::Tag));
        assert_eq!(all(&[0x0f]), Err(WireError::Tag));
        assert_eq!(all(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]), Err(WireError::Varint));
        let endless = [0x12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(all(&endless), Err(WireError::Short));
    }

    #[test]
    fn groups_are_skipped_when_well_formed() {
        // This is group 3 { group 4 {} field 1 = 5 }, and then field 2 = 6.
        assert_eq!(all(&[0x1b, 0x23, 0x24, 0x08, 5, 0x1c, 0x10, 6]), Ok(vec![(2, Value::Varint(6))]));
        assert_eq!(all(&[0x1b, 0x24]), Err(WireError::Group));
        assert_eq!(all(&[0x1b]), Err(WireError::Group));
        assert_eq!(all(&[0x1c]), Err(WireError::Group));
        assert_eq!(all(&[0x1b; 5000]), Err(WireError::Group));
    }
}
