use super::*;
use proptest::prelude::*;

fn conditions(lines: &[(HeaderName, &[u8])]) -> Conditions {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    Conditions::of(&headers)
}

fn status(conditions: &Conditions, tag: &EntityTag) -> u16 {
    match conditions.answer(tag, "the item") {
        Ok(answer) => {
            assert_eq!(answer.headers()[header::ETAG], tag.header());
            answer.status().as_u16()
        }
        Err(problem) => problem.status().as_u16(),
    }
}

#[test]
fn if_match_holds_if_a_strong_tag_of_any_line_is_the_current_one() {
    let five = EntityTag::of_version(5);
    for (lines, holds) in [
        (&[&b"\"5\""[..]][..], true),
        (&[b"\"777\", \"5\""], true),
        (&[b"\"777\"", b"\"5\""], true),
        (&[b"\"7,\" ,, \"5\" ,"], true),
        (&[b"nonsense, \"5\""], true),
        (&[b"*"], true),
        (&[b" * "], true),
        (&[b"\"777\""], false),
        (&[b"W/\"5\""], false),
        (&[b"w/\"5\""], false),
        (&[b"\"05\""], false),
        (&[b"\"+5\""], false),
        (&[b"\"5\" x"], false),
        (&[b"5"], false),
        (&[b"\"5"], false),
        (&[b"\" 5\""], false),
        (&[b"'5'"], false),
        (&[b""], false),
        (&[b","], false),
        (&[b"*, \"7\""], false),
        (&[b"*", b"\"7\""], false),
        (&[b"\"\xff\""], false),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| (header::IF_MATCH, *line)).collect();
        let conditions = conditions(&lines);
        assert_eq!(conditions.versions().include(5), holds, "{lines:?}");
        assert_eq!(status(&conditions, &five), if holds { 200 } else { 412 }, "{lines:?}");
    }
}

#[test]
fn if_none_match_compares_weakly() {
    let five = EntityTag::of_version(5);
    for (lines, known) in [
        (&[&b"\"5\""[..]][..], true),
        (&[b"W/\"5\""], true),
        (&[b"\"7\", W/\"5\""], true),
        (&[b"\"7\"", b"\"5\""], true),
        (&[b"*"], true),
        (&[b"\"7\""], false),
        (&[b"5"], false),
        (&[b""], false),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| (header::IF_NONE_MATCH, *line)).collect();
        let conditions = conditions(&lines);
        assert_eq!(conditions.versions().include(5), !known, "{lines:?}");
        assert_eq!(status(&conditions, &five), if known { 304 } else { 200 }, "{lines:?}");
    }
}

#[test]
fn if_match_is_checked_before_if_none_match() {
    let both = |if_match, if_none_match| {
        let lines: [(HeaderName, &[u8]); 2] =
            [(header::IF_MATCH, if_match), (header::IF_NONE_MATCH, if_none_match)];
        status(&conditions(&lines), &EntityTag::of_version(5))
    };
    assert_eq!(both(b"\"7\"", b"\"5\""), 412);
    assert_eq!(both(b"\"5\"", b"\"5\""), 304);
    assert_eq!(both(b"\"5\"", b"\"7\""), 200);
}

#[test]
fn different_content_has_different_tags() {
    let tag = |status: &str| EntityTag::of_content(&("cart", status));
    assert_eq!(tag("added"), tag("added"));
    assert_ne!(tag("added"), tag("paid"));
}

fn any_tag() -> impl Strategy<Value = EntityTag> {
    let opaque =
        prop::collection::vec(prop_oneof![Just(0x21), 0x23..=0x7e_u8, 0x80..=0xff_u8], 0..6);
    (any::<bool>(), opaque).prop_map(|(weak, opaque)| EntityTag { weak, opaque })
}

proptest! {
    #[test]
    fn written_tags_are_read_back(written in prop::collection::vec(any_tag(), 0..6)) {
        let line: Vec<Vec<u8>> =
            written.iter().map(|tag| tag.header().as_bytes().to_vec()).collect();
        prop_assert_eq!(tags(&line.join(&b" , "[..])), written);
    }

    #[test]
    fn tags_of_any_line_are_valid(line in prop::collection::vec(any::<u8>(), 0..60)) {
        for tag in tags(&line) {
            prop_assert_eq!(tags(tag.header().as_bytes()), vec![tag.clone()]);
        }
    }
}
