//! When a certificate ends. rustls reads no more of a server's own certificate than its public key.

use chrono::NaiveDateTime;

/// The tags of DER (X.690) that are met.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// An element of DER: its tag and its value.
type Element<'a> = (u8, &'a [u8]);

/// Returns the end of the validity of a certificate in DER (RFC 5280, 4.1), in seconds since 1970. `None` if it is broken.
pub(super) fn end(certificate: &[u8]) -> Option<i64> {
    let ((_, certificate), _) = element(certificate)?;
    let ((_, mut fields), _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        (_, fields) = element(fields)?;
    }
    for _ in ["serial number", "signature algorithm", "issuer"] {
        (_, fields) = element(fields)?;
    }
    let ((_, validity), _) = element(fields)?;
    let (_begin, rest) = element(validity)?;
    let ((tag, end), _) = element(rest)?;
    let text = std::str::from_utf8(end).ok()?;
    let text = match tag {
        UTC_TIME if text < "5" => format!("20{text}"), // RFC 5280, 4.1.2.5.1
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    Some(time.and_utc().timestamp())
}

/// Returns the first element of `der`, and what follows it.
fn element(der: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let [tag, length, rest @ ..] = der else { return None };
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None, // no certificate is longer
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some(((*tag, value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestCertificate;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    #[test]
    fn the_end_is_read_in_both_forms_of_a_time() {
        for (year, seconds) in [(1999, 917_913_600), (2031, 1_927_756_800), (2055, 2_685_139_200)] {
            let pem = TestCertificate::until(year, 2, 2).certificate;
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            assert_eq!(end(&der), Some(seconds), "{year}");
            for length in 0..der.len() / 2 {
                assert_eq!(end(&der[..length]), None, "cut after {length} bytes");
            }
        }
        assert_eq!(end(b"0\x84\xff\xff\xff\xff"), None);
    }
}
