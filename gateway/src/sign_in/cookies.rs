//! Sealed cookies. What is in them cannot be read or changed by who has them.

use axum::http::{HeaderMap, HeaderValue, header};
use chassis::base::config::SharedSecrets;
use chassis::http::BaseUrl;
use cookie::time::Duration;
use cookie::{Cookie, CookieJar, Key, SameSite};
use sha2::{Digest, Sha512};
use std::array;

/// Bytes of one cookie before it is sealed. Browsers take 4,096 of its name, value and attributes; sealing adds a third.
const PIECE_SIZE: usize = 2_700;
/// Cookies that one value may take.
const PIECES_MAX: usize = 6;
/// Bytes that a value may have.
pub(super) const SIZE_MAX: usize = PIECE_SIZE * PIECES_MAX;

/// The keys of sealed cookies: the first seals, and each opens.
pub(super) struct Seal(Vec<Key>);

/// Where a cookie belongs.
pub(super) struct Place {
    /// The names of the pieces of its value.
    names: [String; PIECES_MAX],
    path: String,
    secure: bool,
    max_age: Option<Duration>,
    /// One more than the number of the last piece that the browser has.
    sent: usize,
}

impl Place {
    /// Returns the cookie `name` of the shop, as the browser knows it that sent `headers`, until it is closed. Over HTTPS no other
    /// host can set a cookie of this name, unless the shop is behind a path prefix.
    pub(super) fn new(headers: &HeaderMap, name: &str) -> Self {
        let base = BaseUrl::of(headers);
        let (path, secure) = (base.path("/"), base.origin().starts_with("https:"));
        let prefix = if secure && path == "/" { "__Host-" } else { "" };
        let names = array::from_fn(|number| match number {
            0 => format!("{prefix}{name}"),
            number => format!("{prefix}{name}_{number}"),
        });
        let mut place = Self { names, path, secure, max_age: None, sent: 0 };
        let numbers = pairs(headers).filter_map(|pair| place.number(name_of(pair)));
        place.sent = numbers.max().map_or(0, |last| last + 1);
        place
    }

    /// Bounds the age of the cookie.
    pub(super) fn for_seconds(self, seconds: i64) -> Self {
        Self { max_age: Some(Duration::seconds(seconds)), ..self }
    }

    /// Returns the number of the piece with this name.
    fn number(&self, name: &[u8]) -> Option<usize> {
        self.names.iter().position(|piece| piece.as_bytes() == name)
    }

    /// Returns true if the browser has a piece, whether it can be opened or not.
    pub(super) fn is_taken(&self) -> bool {
        self.sent > 0
    }

    /// Removes the value from the browser, by the headers of a response.
    pub(super) fn remove(&self, headers: &mut HeaderMap) {
        self.remove_from(headers, 0);
    }

    /// Removes the pieces from `first` on.
    fn remove_from(&self, headers: &mut HeaderMap, first: usize) {
        for name in self.names.iter().take(self.sent).skip(first) {
            let mut gone = self.cookie(name, "");
            gone.make_removal();
            add(headers, Some(&gone));
        }
    }

    fn cookie(&self, name: &str, value: &str) -> Cookie<'static> {
        let cookie = Cookie::build((name.to_owned(), value.to_owned()))
            .path(self.path.clone())
            .http_only(true);
        let mut cookie = cookie.secure(self.secure).same_site(SameSite::Lax).build();
        cookie.set_max_age(self.max_age);
        cookie
    }
}

impl Seal {
    /// Returns the keys of these secrets, or of a random one.
    pub(super) fn new(secrets: Option<SharedSecrets>) -> Self {
        let secrets = secrets.unwrap_or_else(SharedSecrets::random);
        // A secret of 32 characters or more needs no slow hash; its use is named so that another one gives another key.
        let key =
            |secret: &str| Sha512::new().chain_update("gifticon cookies ").chain_update(secret);
        Self(secrets.each().map(|secret| Key::from(&key(secret).finalize())).collect())
    }

    /// Returns the value that the headers have at `place`, if it was sealed by one of the keys.
    pub(super) fn open(&self, headers: &HeaderMap, place: &Place) -> Option<String> {
        let mut value = String::new();
        for name in &place.names {
            let Some(pair) = pairs(headers).find(|pair| name_of(pair) == name.as_bytes()) else {
                break;
            };
            let (_, sealed) = str::from_utf8(pair).ok()?.split_once('=')?;
            let sealed = Cookie::new(name.clone(), sealed.to_owned());
            let open = |key| CookieJar::new().private(key).decrypt(sealed.clone());
            value.push_str(self.0.iter().find_map(open)?.value());
        }
        (!value.is_empty()).then_some(value)
    }

    /// Adds a sealed value to the headers of a response, and removes what is left there of a longer one. Returns false, and
    /// adds nothing, if it is too long for a browser.
    #[must_use]
    pub(super) fn put(&self, headers: &mut HeaderMap, place: &Place, value: &str) -> bool {
        let pieces: Vec<_> = pieces(value).collect();
        if pieces.len() > PIECES_MAX {
            return false;
        }
        for (name, piece) in place.names.iter().zip(&pieces) {
            let mut jar = CookieJar::new();
            jar.private_mut(&self.0[0]).add(place.cookie(name, piece));
            add(headers, jar.get(name));
        }
        place.remove_from(headers, pieces.len());
        true
    }
}

/// Takes the cookies of `place` out of the headers of a request: nobody behind the gateway needs them.
pub(super) fn hide(headers: &mut HeaderMap, place: &Place) {
    let others = pairs(headers).filter(|pair| place.number(name_of(pair)).is_none());
    let others = others.collect::<Vec<_>>().join(&b"; "[..]);
    headers.remove(header::COOKIE);
    if !others.is_empty()
        && let Ok(others) = HeaderValue::from_bytes(&others)
    {
        headers.insert(header::COOKIE, others);
    }
}

/// Returns the pairs of name and value in the headers of a request. They are bytes: another cookie of the host may have any.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

/// Returns the name in a pair; all of it, if it has no value.
fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

/// Returns the parts of a value that fit into a cookie each.
fn pieces(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = PIECE_SIZE.min(rest.len());
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, left) = rest.split_at(end);
        rest = left;
        Some(piece)
    })
}

fn add(headers: &mut HeaderMap, cookie: Option<&Cookie<'_>>) {
    let value = cookie.and_then(|cookie| HeaderValue::try_from(cookie.to_string()).ok());
    headers.extend(value.map(|value| (header::SET_COOKIE, value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(scheme: &str) -> HeaderMap {
        let headers = [("x-forwarded-proto", scheme), ("host", "shop.example")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        headers.into_iter().collect()
    }

    /// Returns the request headers of a browser that got `answer`.
    fn sent(answer: &HeaderMap) -> HeaderMap {
        let cookies = answer.get_all(header::SET_COOKIE).iter().map(|set| set.to_str().unwrap());
        let kept = cookies.filter(|set| !set.contains("Max-Age=0"));
        let pairs: Vec<_> = kept.map(|set| set.split(';').next().unwrap()).collect();
        [(header::COOKIE, pairs.join("; ").parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn a_value_comes_back_whole_however_long_it_is() {
        let (seal, place) = (Seal::new(None), Place::new(&request("https"), "s"));
        for length in [1, PIECE_SIZE, PIECE_SIZE + 1, 3 * PIECE_SIZE, PIECES_MAX * PIECE_SIZE] {
            let (value, mut answer) = ("v".repeat(length), HeaderMap::new());
            assert!(seal.put(&mut answer, &place, &value));
            for set in answer.get_all(header::SET_COOKIE) {
                assert!(set.len() <= 4_096, "{} bytes", set.len());
                assert!(!set.to_str().unwrap().contains("vvvv"));
            }
            assert_eq!(seal.open(&sent(&answer), &place), Some(value));
        }
        let mut answer = HeaderMap::new();
        assert!(!seal.put(&mut answer, &place, &"v".repeat(PIECES_MAX * PIECE_SIZE + 1)));
        assert!(answer.is_empty());
    }

    #[test]
    fn a_shorter_value_leaves_nothing_of_a_longer_one() {
        let (seal, mut answer) = (Seal::new(None), HeaderMap::new());
        let long = "v".repeat(2 * PIECE_SIZE);
        assert!(seal.put(&mut answer, &Place::new(&request("http"), "s"), &long));
        let mut request = request("http");
        request.extend(sent(&answer));
        let (place, mut answer) = (Place::new(&request, "s"), HeaderMap::new());
        assert!(seal.put(&mut answer, &place, "short"));
        let set: Vec<_> = answer.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(set.len(), 2, "{set:?}");
        assert!(set[1].to_str().unwrap().starts_with("s_1=; "), "{set:?}");
    }

    #[test]
    fn what_others_sealed_or_changed_is_not_opened() {
        let place = Place::new(&request("http"), "s");
        let (new, old) = ("n".repeat(32), "o".repeat(32));
        let ours = Seal::new(Some(format!("{new},{old}").parse().unwrap()));
        let sealed = |seal: &Seal| {
            let mut answer = HeaderMap::new();
            assert!(seal.put(&mut answer, &place, "value"));
            sent(&answer)
        };
        let with_old = Seal::new(Some(old.parse().unwrap()));
        assert_eq!(ours.open(&sealed(&with_old), &place).as_deref(), Some("value"));
        assert_eq!(ours.open(&sealed(&Seal::new(None)), &place), None);
        let other = Place::new(&request("http"), "t");
        let renamed = sealed(&ours)[header::COOKIE].to_str().unwrap().replacen("s=", "t=", 1);
        let renamed = [(header::COOKIE, renamed.parse().unwrap())].into_iter().collect();
        assert_eq!(ours.open(&renamed, &other), None);
    }

    #[test]
    fn cookies_are_for_this_host_alone_and_no_script_reads_them() {
        let (seal, mut answer) = (Seal::new(None), HeaderMap::new());
        assert!(seal.put(&mut answer, &Place::new(&request("https"), "s"), "v"));
        let set = answer[header::SET_COOKIE].to_str().unwrap();
        assert!(set.starts_with("__Host-s="), "{set}");
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
            assert!(set.split("; ").any(|one| one == attribute), "{set}");
        }
        assert!(!set.contains("Domain"), "{set}");
    }

    #[test]
    fn the_others_of_a_request_stay() {
        let place = Place::new(&request("http"), "s");
        let line = "a=1; s=x; s_1=y; s_more=2".parse().unwrap();
        let mut headers = HeaderMap::from_iter([(header::COOKIE, line)]);
        hide(&mut headers, &place);
        assert_eq!(headers[header::COOKIE], "a=1; s_more=2");
    }

    #[test]
    fn a_cookie_of_any_bytes_hides_no_other() {
        let (seal, mut answer) = (Seal::new(None), HeaderMap::new());
        assert!(seal.put(&mut answer, &Place::new(&request("http"), "s"), "value"));
        let sealed = sent(&answer)[header::COOKIE].to_str().unwrap().to_owned();
        let line = [b"a=\xe9; ", sealed.as_bytes(), b"; b=\xea\xb0\x80"].concat();
        let line = HeaderValue::from_bytes(&line).unwrap();
        let mut headers = HeaderMap::from_iter([(header::COOKIE, line)]);
        let place = Place::new(&headers, "s");
        assert_eq!(seal.open(&headers, &place).as_deref(), Some("value"));
        hide(&mut headers, &place);
        assert_eq!(headers[header::COOKIE].as_bytes(), b"a=\xe9; b=\xea\xb0\x80");
    }

    #[test]
    fn every_piece_that_a_browser_has_is_removed_and_no_other() {
        for (line, removed) in [
            ("a=1", &[][..]),
            ("s=x; s=y; s=z", &["s"]),
            ("s_2=x", &["s", "s_1", "s_2"]),
            ("s_1", &["s", "s_1"]),
            ("s_5=x; s_6=y; s_50=z", &["s", "s_1", "s_2", "s_3", "s_4", "s_5"]),
        ] {
            let request = HeaderMap::from_iter([(header::COOKIE, line.parse().unwrap())]);
            let (place, mut answer) = (Place::new(&request, "s"), HeaderMap::new());
            assert_eq!(place.is_taken(), !removed.is_empty(), "{line}");
            place.remove(&mut answer);
            let set = answer.get_all(header::SET_COOKIE).iter().map(|set| set.to_str().unwrap());
            let names: Vec<_> = set.filter_map(|set| set.split('=').next()).collect();
            assert_eq!(names, removed, "{line}");
        }
    }
}
