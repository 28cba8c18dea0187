//! Hashes as people write them.

use std::fmt::Write as _;

/// The bytes as text, with two lower-case digits for each byte.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hash of 32 bytes that a text stands for; `None` if the text is anything but 64 digits.
pub fn decode(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_digits_and_nothing_else() {
        let hash: [u8; 32] = std::array::from_fn(|index| index as u8 * 8);
        let text = encode(&hash);
        assert!(text.starts_with("000810") && text.len() == 64, "{text}");
        assert_eq!((decode(&text), decode(&text.to_uppercase())), (Some(hash), Some(hash)));
        for wrong in [&text[1..], &format!("{text}0"), &format!("+{}", &text[1..]), &"é".repeat(32), ""] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
