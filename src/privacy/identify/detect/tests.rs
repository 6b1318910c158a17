use proptest::prelude::*;

use super::*;

/// A text, what it becomes, and (kind, start, end) of each identifier.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, usize, usize)]);

fn check(cases: &[Case<'_>]) {
    for (text, redacted, spans) in cases {
        let found = detect(text);
        let got: Vec<_> = found.spans.iter().map(|span| (span.kind, span.start, span.end)).collect();
        assert_eq!((found.redacted.as_str(), got.as_slice()), (*redacted, *spans), "{text}");
        for span in &found.spans {
            let written: String = text.chars().skip(span.start).take(span.end - span.start).collect();
            assert_eq!(span.text, written, "{text}");
        }
    }
}

#[test]
fn numbers_of_persons() {
    check(&[
        ("业主电话13800138000请回复", "业主电话[mobile]请回复", &[("mobile", 4, 15)]),
        ("电话１３８００１３８０００。", "电话[mobile]。", &[("mobile", 2, 13)]),
        ("电话138-0013-8000", "电话[mobile]", &[("mobile", 2, 15)]),
        ("电话138 0013 8000急", "电话[mobile]急", &[("mobile", 2, 15)]),
        ("138\u{200b}0013\u{200d}8000", "[mobile]", &[("mobile", 0, 13)]),
        ("\u{200b}13800138000\u{feff}", "\u{200b}[mobile]\u{feff}", &[("mobile", 1, 12)]),
        (
            "物业热线+8613800138000，备用0086-13900139000",
            "物业热线[mobile]，备用[mobile]",
            &[("mobile", 4, 18), ("mobile", 21, 37)],
        ),
        ("＋８６ 138 0013 8000", "[mobile]", &[("mobile", 0, 17)]),
        ("（+86）13800138000", "[mobile]", &[("mobile", 0, 16)]),
        ("13800138000/13900139000", "[mobile]/[mobile]", &[("mobile", 0, 11), ("mobile", 12, 23)]),
        ("1.13800138000", "1.[mobile]", &[("mobile", 2, 13)]),
        (
            "{\"tel\":\"13800138000\",\"pwd\":\"x\"}",
            "{\"tel\":\"[mobile]\",\"pwd\":\"x\"}",
            &[("mobile", 8, 19)],
        ),
        ("座机021-68880000转801", "座机[landline]转801", &[("landline", 2, 14)]),
        ("座机(021)68880000。", "座机[landline]。", &[("landline", 2, 15)]),
        ("（０２１）6888 0000", "[landline]", &[("landline", 0, 14)]),
        ("0571-8888888或02168880000", "[landline]或[landline]", &[("landline", 0, 12), ("landline", 13, 24)]),
        ("+86-21-68880000", "[landline]", &[("landline", 0, 15)]),
        ("(021-68880000)", "([landline])", &[("landline", 1, 13)]),
        ("身份证号：11010519491231002x。", "身份证号：[id18]。", &[("id18", 5, 23)]),
        ("１１０１０５１９４９１２３１００２Ｘ", "[id18]", &[("id18", 0, 18)]),
        ("证110105 19491231 002X", "证[id18]", &[("id18", 1, 21)]),
        ("卡号4111 1111 1111 1111作废", "卡号[bank_card]作废", &[("bank_card", 2, 21)]),
        ("卡号4111-1111-1111-1111", "卡号[bank_card]", &[("bank_card", 2, 21)]),
        ("4111111111111111", "[bank_card]", &[("bank_card", 0, 16)]),
        ("3782 822463 10005", "[bank_card]", &[("bank_card", 0, 17)]),
        ("4111 1111 1111 1111 2026", "[bank_card] 2026", &[("bank_card", 0, 19)]),
    ]);
}

#[test]
fn plates_and_mail() {
    check(&[
        ("车牌沪AD12345堵住消防通道", "车牌[plate]堵住消防通道", &[("plate", 2, 10)]),
        ("沪A·12345占用车位", "[plate]占用车位", &[("plate", 0, 8)]),
        ("浙A12345和粤B12345D剐蹭", "[plate]和[plate]剐蹭", &[("plate", 0, 7), ("plate", 8, 16)]),
        ("B2车库沪A 12345", "B2车库[plate]", &[("plate", 4, 12)]),
        ("车位12沪a12345", "车位12[plate]", &[("plate", 4, 11)]),
        ("沪Ａ１２３４５", "[plate]", &[("plate", 0, 7)]),
        ("沪A1234学违停", "[plate]违停", &[("plate", 0, 7)]),
        ("使014·578", "[plate]", &[("plate", 0, 8)]),
        ("邮箱zhang.san@example.com。", "邮箱[email]。", &[("email", 2, 23)]),
        ("zs＠example.com.cn,", "[email],", &[("email", 0, 17)]),
        ("13800138000@139.com", "[email]", &[("email", 0, 19)]),
        ("见a@b.com.", "见[email].", &[("email", 1, 8)]),
        ("a@b.com/c@d.cn", "[email]/[email]", &[("email", 0, 7), ("email", 8, 14)]),
        (
            "投诉人李四13800138000，身份证440524188001010014，车牌苏D40000",
            "投诉人李四[mobile]，身份证[id18]，车牌[plate]",
            &[("mobile", 5, 16), ("id18", 20, 38), ("plate", 41, 48)],
        ),
    ]);
}

#[test]
fn near_misses_are_left() {
    for text in [
        "",
        "国标设备31011500001320000017离线",
        "统一社会信用代码91310110666007217T",
        "编号110105199003071234",
        "编号201511221897205960",
        "15位150102880730303",
        "请拨打12345或110",
        "客服400-860-8608",
        "客服4008608608",
        "型号粤B-2000型水泵",
        "京A1号楼",
        "使用100000元，致使123456次",
        "沪A123456",
        "沪I12345",
        "经度121.473701纬度31.230416",
        "2026-11-22 13:45:07",
        "单号2026112213800138000",
        "A13800138000",
        "13800138000B",
        "12800138000",
        "4111111111111112",
        "2111111111111114",
        "13 45 67 89 01 2",
        "user@192.168.1.1",
        "张三@163",
        "@example.com",
        "编号028 2026-11-22",
    ] {
        let found = detect(text);
        assert_eq!((found.redacted.as_str(), found.spans.len()), (text, 0), "{:?}", found.spans);
    }
}

/// What is an id and passes as a card is an id; what is part of an e-mail address is nothing else.
#[test]
fn order_of_kinds() {
    let both = (0..1000).map(|serial| format!("44052419900101{serial:03}")).find_map(|body| {
        b"0123456789X".iter().map(|check| format!("{body}{}", char::from(*check))).find(|id| {
            let digits: Option<Vec<u8>> =
                id.bytes().map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect();
            number::id18(id) && digits.is_some_and(|digits| number::checks(&digits))
        })
    });
    let both = both.expect("one in ten ids passes as a card");
    assert_eq!(detect(&both).redacted, "[id18]");
    assert_eq!(detect(&format!("{both}@example.com")).redacted, "[email]");
}

#[test]
fn debug_shows_no_text() {
    let found = detect("业主李四13800138000");
    assert_eq!(format!("{found:?}"), "[mobile[4..15]]");
}

/// Pieces of which texts are made that are full of what could be an identifier.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("13800138000".to_owned()),
        Just("11010519491231002X".to_owned()),
        Just("4111 1111 1111 1111".to_owned()),
        Just("021-68880000".to_owned()),
        Just("沪A·12345".to_owned()),
        Just("a@b.com".to_owned()),
        Just("+86".to_owned()),
        Just("\u{200b}".to_owned()),
        "[0-9]{1,6}",
        "[ \\-()（）·@.]",
        "[甲乙沪学]",
        "[A-Dx]",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn spans_are_sound(text: &str) -> Result<(), TestCaseError> {
    let chars: Vec<char> = text.chars().collect();
    let found = detect(text);
    let (mut rebuilt, mut at) = (String::new(), 0);
    for span in &found.spans {
        prop_assert!(at <= span.start && span.start < span.end && span.end <= chars.len());
        prop_assert_eq!(&span.text, &chars[span.start..span.end].iter().collect::<String>());
        rebuilt.extend(&chars[at..span.start]);
        rebuilt.push_str(&format!("[{}]", span.kind));
        at = span.end;
    }
    rebuilt.extend(&chars[at..]);
    prop_assert_eq!(rebuilt, found.redacted);
    Ok(())
}

proptest! {
    #[test]
    fn spans_rebuild_the_redacted_text(text in pieces()) {
        spans_are_sound(&text)?;
    }

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        spans_are_sound(&text)?;
    }

    /// However it is spelled, and whatever Chinese text stands around it, a mobile number is found whole.
    #[test]
    fn a_number_does_not_hide(
        number in "1[3-9][0-9]{9}",
        before in "[甲乙，。：(\"]{0,3}",
        after in "[甲乙，。)\"]{0,3}",
        prefix in 0_usize..5,
        joint in "[ \\-\u{200b}–]{0,2}",
        wide in any::<bool>(),
    ) {
        let prefix = ["", "+86", "0086", "+86 ", "86-"][prefix];
        let spelled = format!("{prefix}{}{joint}{}{joint}{}", &number[..3], &number[3..7], &number[7..]);
        let spelled: String = spelled
            .chars()
            .map(|c| match c {
                '0'..='9' if wide => char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c),
                _ => c,
            })
            .collect();
        let found = detect(&format!("{before}{spelled}{after}"));
        prop_assert_eq!(found.redacted, format!("{before}[mobile]{after}"));
    }
}

/// Groups of four digits may be an id before they are a card; a longer number that only looks like one is neither.
#[test]
fn groups() {
    check(&[
        ("1101 0519 4912 3100 2X", "[id18]", &[("id18", 0, 22)]),
        ("11 01 05 19 49 12 31 00 2X", "11 01 05 19 49 12 31 00 2X", &[]),
        ("41 11 11 11 11 11 11 11", "41 11 11 11 11 11 11 11", &[]),
        ("13800138000 021-68880000", "[mobile] [landline]", &[("mobile", 0, 11), ("landline", 12, 24)]),
        ("138001380004111111111111111", "138001380004111111111111111", &[]),
    ]);
}
