//! Draws the picture of a voucher from its name: a colour and a barcode by its letters, and a sign for what it is.

use std::fmt::Write;

/// Ground, its darker shape and the sign, as colours.
const PALETTES: [[&str; 3]; 8] = [
    ["#ffd9c7", "#ffc2a6", "#8a3312"],
    ["#cfe8ff", "#b2d8fd", "#134a86"],
    ["#d6f1de", "#b9e5c7", "#14583a"],
    ["#fde5b8", "#fbd690", "#6f4700"],
    ["#e5dcfb", "#d2c3f7", "#46308a"],
    ["#ffd8e4", "#ffbfd2", "#8c1d49"],
    ["#d3f0ef", "#b1e2e1", "#0f5557"],
    ["#e6e7d2", "#d4d6b4", "#4a4d1b"],
];

/// Words in names, each with the sign for it.
const SIGNS: [(&[&str], &str); 8] = [
    (&["아이스 아메리카노", "콜드브루", "에이드", "iced", "cold", "ade"], ICED),
    (&["아메리카노", "라떼", "커피", "coffee", "latte", "americano", "tea", "차"], CUP),
    (&["케이크", "cake", "빵", "bread"], CAKE),
    (&["치킨", "닭", "chicken"], DRUMSTICK),
    (&["팝콘", "popcorn", "영화", "movie"], BUCKET),
    (&["아이스크림", "빙수", "ice cream", "gelato"], CONE),
    (&["버거", "burger", "샌드위치", "sandwich"], BURGER),
    (&["상품권", "금액권", "card", "gift card"], CARD),
];

const ICED: &str = r#"<path d="M18 20h28l-4 36H22zM14 20h36M34 20l4-14h7M20 34h24"/><path d="M27 40h6v6h-6zM34 47h5v5h-5z"/>"#;
const CUP: &str = r#"<path d="M12 24h32v16a12 12 0 0 1-12 12h-8a12 12 0 0 1-12-12zM44 28h4a6 6 0 0 1 0 12h-4M8 58h40M22 16c0-4 4-4 4-8M31 16c0-4 4-4 4-8"/>"#;
const CAKE: &str = r#"<path d="M10 54h44V36a6 6 0 0 0-6-6H16a6 6 0 0 0-6 6zM10 42c5 5 9 5 14 0 5 5 11 5 16 0 5 5 9 5 14 0M32 30V20M32 10c3 3 3 6 0 6s-3-3 0-6"/>"#;
const BUCKET: &str = r#"<path d="M14 28h36l-6 28H20zM26 28l2 28M38 28l-2 28M14 28a7 7 0 0 1 8-10 9 9 0 0 1 17-3 8 8 0 0 1 11 13"/>"#;
const DRUMSTICK: &str = r#"<path d="M21 36l-8 8a5 5 0 1 0-4 8 5 5 0 1 0 8 4l11-11z"/><path d="M26 41C16 36 18 16 34 10 48 5 60 15 55 29 50 44 34 48 26 41zM43 18c3 1 5 4 4 8"/>"#;
const CONE: &str =
    r#"<path d="M20 30l12 28 12-28zM18 30a14 14 0 0 1 28 0zM25 38l12 9M38 37l-9 7"/>"#;
const BURGER: &str = r#"<path d="M10 28a22 16 0 0 1 44 0zM10 36c5 4 9 4 14 0 5 4 11 4 16 0 5 4 9 4 14 0M10 44h44v4a6 6 0 0 1-6 6H16a6 6 0 0 1-6-6zM26 20h1M34 18h1M41 21h1"/>"#;
const CARD: &str = r#"<path d="M14 16h36a6 6 0 0 1 6 6v20a6 6 0 0 1-6 6H14a6 6 0 0 1-6-6V22a6 6 0 0 1 6-6zM8 28h48M16 39h12"/>"#;
const GIFT: &str = r#"<path d="M12 30h40v26H12zM8 20h48v10H8zM32 20v36M32 20c-4-14-20-12-16-4 2 4 16 4 16 4s14 0 16-4c4-8-12-10-16 4"/>"#;

/// Returns the picture as SVG. Nothing of the name is in it.
pub(crate) fn draw(name: &str) -> String {
    let hash = hash(name);
    let [ground, shape, sign_colour] = PALETTES[usize::try_from(hash % 8).unwrap_or_default()];
    let name = name.to_lowercase();
    let is_named = |words: &&[&str]| words.iter().any(|word| name.contains(word));
    let sign = SIGNS.iter().find(|(words, _)| is_named(words)).map_or(GIFT, |(_, sign)| sign);
    let mut bars = String::new();
    let mut x = 262;
    for bar in 0..9 {
        let width = 1 + (hash >> (8 + bar * 2) & 3);
        let _ = write!(bars, r#"<rect x="{x}" y="52" width="{width}" height="64"/>"#);
        x += width + 2;
    }
    let turn = hash >> 40 & 63;
    let (cx, cy) = (40 + turn, 150 - turn / 2);
    format!(
        r##"<svg class="voucher" viewBox="0 0 320 168" aria-hidden="true" focusable="false"><rect width="320" height="168" fill="{ground}"/><circle cx="{cx}" cy="{cy}" r="74" fill="{shape}"/><circle cx="{}" cy="18" r="42" fill="{shape}"/><g transform="translate(74 36) scale(1.5)" fill="#ffffff" fill-opacity=".72" stroke="{sign_colour}" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round">{sign}</g><g fill="{sign_colour}" fill-opacity=".7">{bars}</g><path d="M236 16v136" stroke="{sign_colour}" stroke-opacity=".4" stroke-width="2" stroke-dasharray="2 7" stroke-linecap="round"/><g class="notch"><circle cx="236" cy="0" r="10"/><circle cx="236" cy="168" r="10"/></g></svg>"##,
        226 - turn,
    )
}

/// FNV-1a, which gives a name the same picture in every build.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_follows_from_the_name_and_holds_none_of_it() {
        let picture = draw("<script>alert(1)</script>");
        assert_eq!(picture, draw("<script>alert(1)</script>"));
        assert!(picture.starts_with("<svg") && !picture.contains("script"));
        assert!(draw("카페라떼").contains(CUP) && draw("Iced americano").contains(ICED));
        assert!(draw("후라이드 치킨").contains(DRUMSTICK) && draw("영화 관람권").contains(BUCKET));
        assert!(draw("선물").contains(GIFT));
    }
}
