//! The name of a host that a payload asks for: in a TLS ClientHello (RFC 6066),
//! an HTTP request (RFC 9112) or a DNS message (RFC 1035). Accepts any bytes.

/// The longest name, in bytes.
pub const NAME_MAX: usize = 253;

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The server name of a TLS ClientHello.
    Sni,
    /// The authority of an HTTP request: its Host header, or its target.
    Host,
    /// The first question of a DNS message.
    Dns,
}

impl Place {
    pub const ALL: [Self; 3] = [Self::Sni, Self::Host, Self::Dns];
}

/// The name that a stream's beginning asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// No name, whatever follows.
    Nothing,
    /// More bytes may hold a name.
    More,
    /// The name, which [`Reader::name`] has.
    Name(Place),
}

/// Reads names, into memory of its own.
#[derive(Debug)]
pub(super) struct Reader {
    name: Vec<u8>,
    /// A ClientHello without the headers of its records.
    hello: Vec<u8>,
}

/// The longest ClientHello whose name is read.
const HELLO_MAX: usize = 16 << 10;

/// TCP's and UDP's port of DNS.
pub(super) const DNS_PORT: u16 = 53;

impl Reader {
    pub fn new() -> Self {
        Self { name: Vec::with_capacity(NAME_MAX), hello: Vec::with_capacity(HELLO_MAX) }
    }

    /// The name found last, in lower case.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Looks for a name in the first bytes of a TCP stream.
    pub fn stream(&mut self, bytes: &[u8], is_dns: bool) -> Asked {
        match bytes {
            _ if is_dns => self.dns_stream(bytes),
            [] => Asked::More,
            [TLS_HANDSHAKE, ..] => self.tls(bytes),
            _ => self.http(bytes),
        }
    }

    /// Looks for a name in a datagram of DNS.
    pub fn dns(&mut self, message: &[u8]) -> Asked {
        let Some(header) = message.first_chunk::<12>() else { return Asked::Nothing };
        let (opcode, questions) = (header[2] >> 3 & 15, u16::from_be_bytes([header[4], header[5]]));
        if opcode != 0 || questions == 0 {
            return Asked::Nothing;
        }
        self.name.clear();
        let mut rest = &message[12..];
        while let Some((&len, behind)) = rest.split_first() {
            if len == 0 {
                return Asked::Name(Place::Dns);
            }
            let len = usize::from(len);
            let dot = usize::from(!self.name.is_empty());
            if len > 63 || len > behind.len() || self.name.len() + dot + len > NAME_MAX {
                return Asked::Nothing;
            }
            if dot == 1 {
                self.name.push(b'.');
            }
            self.name.extend(behind[..len].iter().map(u8::to_ascii_lowercase));
            rest = &behind[len..];
        }
        Asked::Nothing
    }

    /// DNS over TCP: a length in front of each message.
    fn dns_stream(&mut self, bytes: &[u8]) -> Asked {
        let Some((len, message)) = bytes.split_first_chunk::<2>() else { return Asked::More };
        match self.dns(message) {
            Asked::Nothing if message.len() < usize::from(u16::from_be_bytes(*len)) => Asked::More,
            asked => asked,
        }
    }

    /// Collects the handshake message of the records in front, and reads it.
    fn tls(&mut self, bytes: &[u8]) -> Asked {
        self.hello.clear();
        let mut rest = bytes;
        while let Some((header, body)) = rest.split_first_chunk::<5>() {
            let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
            if header[0] != TLS_HANDSHAKE || header[1] != 3 || len == 0 {
                return Asked::Nothing;
            }
            let there = len.min(body.len()).min(HELLO_MAX - self.hello.len());
            self.hello.extend_from_slice(&body[..there]);
            rest = &body[len.min(body.len())..];
            if hello_len(&self.hello).is_some_and(|len| self.hello.len() >= len) {
                break;
            }
        }
        match (self.hello.first(), server_name(&self.hello)) {
            (Some(&kind), _) if kind != CLIENT_HELLO => Asked::Nothing,
            (_, Some(Some(name))) => {
                self.name.clear();
                self.name.extend(name.iter().map(u8::to_ascii_lowercase));
                Asked::Name(Place::Sni)
            }
            (_, Some(None)) => Asked::Nothing,
            (_, None) => match hello_len(&self.hello) {
                Some(len) if self.hello.len() >= len.min(HELLO_MAX) => Asked::Nothing,
                _ => Asked::More,
            },
        }
    }

    fn http(&mut self, bytes: &[u8]) -> Asked {
        let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        match bytes.get(method) {
            _ if method > METHOD_MAX => return Asked::Nothing,
            None => return Asked::More,
            Some(b' ') if method > 0 => {}
            Some(_) => return Asked::Nothing,
        }
        let mut lines = Lines(bytes);
        let Some(request) = lines.next() else { return Asked::More };
        let target = request[method..].trim_ascii_start();
        let target = target.split(|&byte| byte == b' ').next().unwrap_or_default();
        let in_target = match &bytes[..method] {
            b"CONNECT" => Some(target),
            _ => ["http://", "https://"].iter().find_map(|scheme| {
                let (front, rest) = target.split_at_checked(scheme.len())?;
                front.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
            }),
        };
        if let Some(authority) = in_target {
            let end = authority.iter().position(|byte| b"/?#".contains(byte));
            return self.authority(&authority[..end.unwrap_or(authority.len())]);
        }
        for line in lines {
            match line.split_at_checked(5) {
                _ if line.is_empty() => return Asked::Nothing,
                Some((field, value)) if field.eq_ignore_ascii_case(b"host:") => {
                    return self.authority(value.trim_ascii());
                }
                _ => {}
            }
        }
        Asked::More
    }

    /// The name in `user@name:port`.
    fn authority(&mut self, text: &[u8]) -> Asked {
        let start = text.iter().rposition(|&byte| byte == b'@').map_or(0, |at| at + 1);
        let name = text[start..].split(|&byte| byte == b':').next().unwrap_or_default();
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() || name.len() > NAME_MAX {
            return Asked::Nothing;
        }
        self.name.clear();
        self.name.extend(name.iter().map(u8::to_ascii_lowercase));
        Asked::Name(Place::Host)
    }
}

/// The type of TLS's records for handshakes, and of a handshake's message.
const TLS_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// HTTP's methods are shorter.
const METHOD_MAX: usize = 20;

/// The lines of a text that end in it, without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == b'\n')?;
        let line = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// Bytes of the whole handshake message.
fn hello_len(hello: &[u8]) -> Option<usize> {
    let header = hello.first_chunk::<4>()?;
    Some(4 + u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize)
}

/// The first host name of a ClientHello. `None`: it ends before. `Some(None)`:
/// it has none.
fn server_name(hello: &[u8]) -> Option<Option<&[u8]>> {
    let mut fields = Fields(hello);
    // Type and length, version, random.
    fields.skip(4 + 2 + 32)?;
    let session = fields.u8()?;
    fields.skip(session.into())?;
    let ciphers = fields.u16()?;
    fields.skip(ciphers.into())?;
    let compressions = fields.u8()?;
    fields.skip(compressions.into())?;
    let mut left = usize::from(fields.u16()?);
    while left >= 4 {
        let (kind, len) = (fields.u16()?, usize::from(fields.u16()?));
        let body = fields.skip(len)?;
        if kind == 0 {
            let mut list = Fields(body);
            list.skip(2)?;
            let kind = list.u8()?;
            let len = list.u16()?;
            let name = list.skip(len.into())?;
            let name = name.strip_suffix(b".").unwrap_or(name);
            return Some((kind == 0 && name.len() <= NAME_MAX).then_some(name));
        }
        left = left.saturating_sub(4 + len);
    }
    Some(None)
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn skip(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    fn u8(&mut self) -> Option<u8> {
        self.skip(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.skip(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with a session, two ciphers and an extension in front.
    fn hello(name: &str) -> Vec<u8> {
        let prefixed = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
        let list = prefixed(&[&[0][..], &prefixed(name.as_bytes())].concat());
        let extensions = [&[0, 23, 0, 0][..], &[0, 0], &prefixed(&list)].concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[2, 9, 9],
            &[0, 4, 0x13, 1, 0x13, 2],
            &[1, 0],
            &prefixed(&extensions),
        ]
        .concat();
        [&[CLIENT_HELLO, 0][..], &prefixed(&body)].concat()
    }

    fn records(message: &[u8], each: usize) -> Vec<u8> {
        let record = |part: &[u8]| {
            [&[TLS_HANDSHAKE, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat()
        };
        message.chunks(each).flat_map(record).collect()
    }

    fn dns(name: &str) -> Vec<u8> {
        let labels =
            name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
        [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
            .into_iter()
            .chain(labels)
            .chain([0, 0, 1, 0, 1])
            .collect()
    }

    /// The first bytes ask for more, all of them for the name.
    #[track_caller]
    fn assert_grows_to(bytes: &[u8], is_dns: bool, place: Place, name: &str) {
        let mut reader = Reader::new();
        let needed = (0..=bytes.len())
            .find(|&len| reader.stream(&bytes[..len], is_dns) != Asked::More)
            .expect("a name");
        for len in needed..=bytes.len() {
            assert_eq!(reader.stream(&bytes[..len], is_dns), Asked::Name(place), "{len} bytes");
            assert_eq!(reader.name(), name.as_bytes());
        }
    }

    #[test]
    fn names_are_read_however_a_stream_is_cut() {
        let message = hello("WWW.Example.com");
        for each in [1, 7, message.len()] {
            assert_grows_to(&records(&message, each), false, Place::Sni, "www.example.com");
        }
        for request in [
            "GET / HTTP/1.1\r\nAccept: */*\r\nHOST:  a.Example.com:8080 \r\n\r\n",
            "POST http://u@a.example.com./x HTTP/1.1\nHost: other\n\n",
            "CONNECT a.example.com:443 HTTP/1.1\r\n\r\n",
        ] {
            assert_grows_to(request.as_bytes(), false, Place::Host, "a.example.com");
        }
        let message = dns("A.b.test");
        let stream = [&(message.len() as u16).to_be_bytes(), message.as_slice()].concat();
        assert_grows_to(&stream, true, Place::Dns, "a.b.test");
    }

    #[test]
    fn other_streams_have_no_name() {
        let mut reader = Reader::new();
        let mut server = hello("x");
        server[0] = 2;
        for bytes in [
            b"SSH-2.0-OpenSSH".to_vec(),
            b"HTTP/1.1 200 OK\r\nHost: no\r\n".to_vec(),
            b"GET / HTTP/1.1\r\n\r\nHost: late\r\n".to_vec(),
            vec![TLS_HANDSHAKE, 9, 0, 0, 1, 1],
            records(&server, 50),
        ] {
            assert_eq!(reader.stream(&bytes, false), Asked::Nothing, "{bytes:?}");
        }
        let mut update = dns("x");
        update[2] = 5 << 3;
        assert_eq!(reader.dns(&update), Asked::Nothing);
        assert_eq!(reader.dns(&dns("x")[..13]), Asked::Nothing);
    }

    proptest! {
        #[test]
        fn no_input_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..120, byte in any::<u8>()) {
            let mut reader = Reader::new();
            let _ = (reader.stream(&bytes, false), reader.stream(&bytes, true), reader.dns(&bytes));
            let mut changed = records(&hello("a.example"), 40);
            let place = at % changed.len();
            changed[place] = byte;
            let _ = reader.stream(&changed, false);
            bytes.insert(0, TLS_HANDSHAKE);
            let _ = reader.stream(&bytes, false);
        }
    }
}
