//! Server-sent events from a stream of bytes.

/// The longest line of an event that is kept.
const LONGEST_LINE: usize = 64 * 1024;

/// Finds the events in a stream of bytes (HTML standard, 9.2.6).
#[derive(Debug, Default)]
pub(super) struct EventReader {
    line: Vec<u8>,
    name: String,
    data: String,
}

impl EventReader {
    /// The names and data of the events that these bytes complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<(String, String)> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => events.extend(self.end_line()),
                b'\r' => {}
                _ if self.line.len() < LONGEST_LINE => self.line.push(*byte),
                _ => {}
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<(String, String)> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let event = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            return (!event.1.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push_str(value),
            // The line is a comment, which keeps the connection alive, or a field that this reader does not use.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_bytes_come() {
        let stream = ":alive\n\nevent: packet\ndata: {\"a\": 1}\n\r\nid: 4\ndata:x\n\nevent: cut";
        let expected = [("packet", "{\"a\": 1}"), ("", "x")].map(|(name, data)| (name.to_owned(), data.to_owned()));
        for size in [1, 2, 7, stream.len()] {
            let mut reader = EventReader::default();
            let events: Vec<_> = stream.as_bytes().chunks(size).flat_map(|bytes| reader.read(bytes)).collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_than_its_share_of_memory() {
        let mut reader = EventReader::default();
        for _ in 0..3 {
            assert!(reader.read(&[b'x'; LONGEST_LINE]).is_empty());
        }
        assert_eq!(reader.line.len(), LONGEST_LINE);
    }
}
