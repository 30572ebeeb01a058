//! Whether a message of a client is as long as what it says is in it.
//!
//! pgwire reads bodies of messages without looking whether they end before, and panics where they
//! do. What passes here it can read. Formats: "Message Formats" of PostgreSQL's documentation.

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It ends before what it says is in it.
    Short,
    /// Something follows what it says is in it.
    Long,
}

/// Checks the body of a message with this letter; letters that need no look pass.
pub(super) fn check(letter: u8, body: &[u8]) -> Result<(), Broken> {
    let mut rest = Rest(body);
    match letter {
        b'P' => {
            rest.text()?;
            rest.text()?;
            let types = rest.count()?;
            rest.skip(types * 4)?;
        }
        b'B' => {
            rest.text()?;
            rest.text()?;
            let formats = rest.count()?;
            rest.skip(formats * 2)?;
            for _ in 0..rest.count()? {
                // A NULL has a length below zero, and no bytes.
                let length = usize::try_from(rest.int()?).unwrap_or(0);
                rest.skip(length)?;
            }
            let formats = rest.count()?;
            rest.skip(formats * 2)?;
        }
        b'C' | b'D' => {
            rest.skip(1)?;
            rest.text()?;
        }
        b'E' => {
            rest.text()?;
            rest.skip(4)?;
        }
        b'Q' | b'f' => rest.text()?,
        b'S' | b'H' | b'X' | b'c' => {}
        // Bytes as they are, and what only the login knows.
        _ => return Ok(()),
    }
    if rest.0.is_empty() { Ok(()) } else { Err(Broken::Long) }
}

/// Whether the texts in a body that passed are texts. pgwire would put other characters in the place
/// of those that are none, and what was never sent would be stored.
pub(super) fn is_text(letter: u8, body: &[u8]) -> bool {
    let (before, texts) = match letter {
        b'P' | b'B' => (0, 2),
        b'C' | b'D' => (1, 1),
        b'E' | b'Q' | b'f' => (0, 1),
        _ => return true,
    };
    let body = body.get(before..).unwrap_or_default();
    body.split(|byte| *byte == 0).take(texts).all(|text| std::str::from_utf8(text).is_ok())
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn skip(&mut self, bytes: usize) -> Result<(), Broken> {
        self.0 = self.0.get(bytes..).ok_or(Broken::Short)?;
        Ok(())
    }

    /// Bytes up to a zero.
    fn text(&mut self) -> Result<(), Broken> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Broken::Short)?;
        self.skip(end + 1)
    }

    fn count(&mut self) -> Result<usize, Broken> {
        let bytes = *self.0.first_chunk::<2>().ok_or(Broken::Short)?;
        self.skip(2)?;
        Ok(usize::from(u16::from_be_bytes(bytes)))
    }

    fn int(&mut self) -> Result<i32, Broken> {
        let bytes = *self.0.first_chunk::<4>().ok_or(Broken::Short)?;
        self.skip(4)?;
        Ok(i32::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};
    use pgwire::messages::{
        DecodeContext, PgWireFrontendMessage, ProtocolVersion,
        extendedquery::{Bind, Close, Describe, Execute, Parse},
        simplequery::Query,
    };
    use proptest::prelude::*;

    use super::*;

    /// Whole messages, letter and length first.
    fn messages() -> Vec<BytesMut> {
        use PgWireFrontendMessage as M;
        let name = || Some("name".to_owned());
        let value = Some(bytes::Bytes::from_static(b"12"));
        let messages = [
            M::Parse(Parse::new(name(), "SELECT $1".to_owned(), vec![23, 25])),
            M::Bind(Bind::new(name(), None, vec![0, 1], vec![value, None], vec![1])),
            M::Close(Close::new(b'S', name())),
            M::Describe(Describe::new(b'P', None)),
            M::Execute(Execute::new(name(), 10)),
            M::Query(Query::new("SELECT 1".to_owned())),
        ];
        let encoded = messages.into_iter().map(|message| {
            let mut bytes = BytesMut::new();
            message.encode(&mut bytes).unwrap();
            bytes
        });
        encoded.collect()
    }

    fn decodes(letter: u8, body: &[u8]) -> bool {
        let mut frame = BytesMut::new();
        frame.put_u8(letter);
        frame.put_i32(i32::try_from(body.len() + 4).unwrap());
        frame.put_slice(body);
        let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        let decoded = std::panic::catch_unwind(move || {
            matches!(PgWireFrontendMessage::decode(&mut frame, &context), Ok(Some(_)))
                && frame.is_empty()
        });
        decoded.is_ok_and(|whole| whole)
    }

    #[test]
    fn whole_messages_pass_and_their_beginnings_do_not() {
        for message in messages() {
            let (letter, body) = (message[0], &message[5..]);
            assert_eq!(check(letter, body), Ok(()), "{message:?}");
            for end in 0..body.len() {
                assert_eq!(check(letter, &body[..end]), Err(Broken::Short), "{message:?}, {end}");
            }
            let longer = [body, b"\0"].concat();
            assert_eq!(check(letter, &longer), Err(Broken::Long), "{message:?}");
        }
    }

    #[test]
    fn texts_are_utf8_and_what_is_no_text_is_not_looked_at() {
        assert!(is_text(b'Q', b"SELECT 1\0"));
        assert!(!is_text(b'Q', b"SELECT '\xff'\0"));
        assert!(!is_text(b'P', b"name\0SELECT '\xff'\0\0\0"));
        assert!(is_text(b'P', b"name\0SELECT $1\0\0\x01\xff\xff\xff\xff"));
        assert!(is_text(b'B', b"\0\0\0\0\0\x01\0\0\0\x01\xff\0\0"));
        assert!(!is_text(b'D', b"S\xff\0"));
        assert!(is_text(b'd', b"\xff"));
    }

    proptest! {
        #[test]
        fn what_passes_can_be_decoded(
            which in 0..6_usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            cuts in any::<bool>(),
        ) {
            let message = messages().swap_remove(which);
            let (letter, mut body) = (message[0], message[5..].to_vec());
            for (at, byte) in changes {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if cuts {
                body.truncate(cut.index(body.len() + 1));
            }
            if check(letter, &body).is_ok() {
                prop_assert!(decodes(letter, &body), "{} {body:?}", char::from(letter));
            }
        }
    }
}
