use proptest::prelude::*;

use super::*;

type Mask = fn(&str) -> String;

/// Every operator, and how many digits of its input it may show.
const OPERATORS: &[(&str, Mask, usize)] = &[
    ("name_cn", name_cn, 0),
    ("id_card", id_card, 3),
    ("mobile", mobile, 7),
    ("landline", landline, 6),
    ("plate", plate, 3),
    ("bank_card", bank_card, 8),
    ("address", address, 0),
];

fn check(mask: Mask, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(mask(text), *expected, "{text:?}");
    }
}

#[test]
fn names() {
    check(
        name_cn,
        &[
            ("张三", "张*"),
            ("段正淳", "段**"),
            ("欧阳娜娜", "欧***"),
            ("买买提·艾力", "买*****"),
            (" 张 三 ", "张*"),
            ("张\u{200b}三", "张*"),
            ("段", HIDDEN),
            ("·张", HIDDEN),
            ("Zhang San", HIDDEN),
            ("张三13800138000", HIDDEN),
            ("", HIDDEN),
        ],
    );
}

#[test]
fn ids() {
    check(
        id_card,
        &[
            ("11010519491231002X", "1***************2X"),
            ("51343620000320711X", "5***************1X"),
            ("11010519491231002x", "1***************2x"),
            ("440524188001010014", "4***************14"),
            ("１１０１０５１９４９１２３１００２Ｘ", "1***************2X"),
            ("110105 19491231 002X", "1***************2X"),
            ("150102880730303", "1************03"),
            ("15010288073030X", HIDDEN),
            ("1101051949123100", HIDDEN),
            ("110", HIDDEN),
            ("110105194912310021X", HIDDEN),
            ("身份证11010519491231002X", HIDDEN),
            ("", HIDDEN),
        ],
    );
}

#[test]
fn telephone_numbers() {
    check(
        mobile,
        &[
            ("13800138000", "138****8000"),
            ("18049531999", "180****1999"),
            ("+86 138-0013-8000", "138****8000"),
            ("１３８００１３８０００", "138****8000"),
            ("1380013800", HIDDEN),
            ("12800138000", HIDDEN),
            ("138001380000", HIDDEN),
            ("138", HIDDEN),
            ("", HIDDEN),
        ],
    );
    check(
        landline,
        &[
            ("09157518479", "0915*****79"),
            ("0571-88888888", "0571*******88"),
            ("021-68880000", "021-******00"),
            ("(021)68880000", "021-******00"),
            ("02168880000", "0216*****00"),
            ("+86 21 6888 0000", "021-******00"),
            ("021-68880000-801", "021-******00"),
            ("68880000", HIDDEN),
            ("400-860-8608", HIDDEN),
            ("021", HIDDEN),
            ("", HIDDEN),
        ],
    );
}

#[test]
fn plates_and_cards() {
    check(
        plate,
        &[
            ("苏D40000", "苏D4***0"),
            ("陕A12345D", "陕A1****D"),
            ("沪A·D12345", "沪AD****5"),
            ("沪a12345", "沪A1***5"),
            ("沪A1234学", "沪A1***学"),
            ("京A123", HIDDEN),
            ("沪A123456", HIDDEN),
            ("A12345", HIDDEN),
            ("", HIDDEN),
        ],
    );
    check(
        bank_card,
        &[
            ("11011111222233333256", "1101 **** **** **** 3256"),
            ("6217000130008255666", "6217 **** **** *** 5666"),
            ("4111 1111 1111 1111", "4111 **** **** 1111"),
            ("4111-1111-1111-1111", "4111 **** **** 1111"),
            ("378282246310005", "3782 **** *** 0005"),
            ("123456789012", "1234 **** 9012"),
            ("12345678901", HIDDEN),
            ("1234", HIDDEN),
            ("411111111111111111111", HIDDEN),
            ("4111x1111111111111", HIDDEN),
            ("", HIDDEN),
        ],
    );
}

#[test]
fn addresses() {
    check(
        address,
        &[
            ("北京市海淀区马连洼街道289号", "北京市海淀区马********"),
            ("上海市浦东新区张江镇科苑路88号3号楼1203室", "上海市浦东新区张江镇********"),
            ("浙江省杭州市西湖区文三路90号东部软件园", "浙江省杭州市西湖区********"),
            ("内蒙古自治区呼和浩特市新城区中山东路18号院", "内蒙古自治区呼和浩特市新城区********"),
            ("河南省新乡市红旗区平原路1号院2单元301", "河南省新乡市红旗区********"),
            ("湖北省荆州市沙市区北京路200号幸福小区", "湖北省荆州市沙市区********"),
            ("江苏省苏州市昆山市玉山镇前进西路1800号", "江苏省苏州市昆山市玉山镇********"),
            ("江西省景德镇市珠山区广场北路188号", "江西省景德镇市珠山区********"),
            ("苏州工业园区星湖街328号创意产业园", "苏州工业园区********"),
            ("阳光花园小区12号楼3单元401室", HIDDEN),
            ("科苑路88弄6号1203室张江镇上", HIDDEN),
            ("海淀区5号院", HIDDEN),
            ("3号楼1203", HIDDEN),
            ("Room 1203, Building 3", HIDDEN),
            ("", HIDDEN),
        ],
    );
}

#[test]
fn mail_addresses() {
    check(
        email,
        &[
            ("duandazhi-jack@gmail.com.cn", "d*************@gmail.com.cn"),
            ("zs@example.com", "z*@example.com"),
            ("a@example.com", "*@example.com"),
            ("ｚｓ＠example.com", "z*@example.com"),
            ("13800138000@139.com", "1**********@139.com"),
            ("zhangsan@", HIDDEN),
            ("@example.com", HIDDEN),
            ("zhangsan", HIDDEN),
            ("zhang san@example.com", HIDDEN),
            ("张三@example.com", HIDDEN),
            ("zhangsan@localhost", HIDDEN),
            ("a@b@example.com", HIDDEN),
            ("", HIDDEN),
        ],
    );
}

/// Digits of the text, in the normal form.
fn digits(text: &str) -> usize {
    trimmed(text).iter().filter(|c| c.is_numeric()).count()
}

/// Any text, and texts near to those that operators know.
fn inputs() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9０-９Xx \\-+()]{0,24}",
        "[沪粤京]?[A-Z]?[·]?[0-9A-Z]{3,7}[学港D]?",
        "[a-z0-9._]{0,5}@[a-z0-9]{0,5}[.]?[a-z]{0,4}",
        "[东西海淀山路号小1-9一]{0,6}[省市区县]?[新城五里桥]{0,4}[区镇街道号]{0,2}[0-9号室路]{0,12}",
    ]
}

proptest! {
    /// A value that is not of the kind shows nothing; one that is shows so many digits and no more.
    #[test]
    fn shows_no_more_than_it_says(text in inputs()) {
        for (name, mask, most) in OPERATORS {
            let masked = mask(&text);
            prop_assert!(digits(&masked) <= *most, "{} shows {} digits", name, digits(&masked));
            prop_assert!(masked.contains('*'), "{} hides nothing", name);
        }
        let masked = email(&text);
        let local = masked.split('@').next().unwrap_or_default();
        prop_assert!(local.contains('*') && local.chars().filter(|c| *c != '*').count() <= 1);
    }

    /// What a kind's grammar does not know is never shown in part.
    #[test]
    fn fails_closed(text in "[ -~]{0,40}") {
        for (name, mask, _) in [OPERATORS[0], OPERATORS[4], OPERATORS[6]] {
            prop_assert_eq!(mask(&text), HIDDEN, "{}", name);
        }
    }

    /// All spellings of one number have one display form.
    #[test]
    fn one_form_for_all_spellings(number in "1[3-9][0-9]{9}", prefix in 0_usize..4, joint in "[ \\-\u{200b}]{0,1}") {
        let prefix = ["", "+86", "0086-", "(+86) "][prefix];
        let spelled = format!("{prefix}{}{joint}{}{joint}{}", &number[..3], &number[3..7], &number[7..]);
        prop_assert_eq!(mobile(&spelled), format!("{}****{}", &number[..3], &number[7..]));
    }

    /// A masked value is not of its kind any more, so a second mask hides it all. (Names of two characters and the domain
    /// of an e-mail address stay what they are.)
    #[test]
    fn a_mask_is_no_value(text in inputs()) {
        for (name, mask, _) in &OPERATORS[1..6] {
            prop_assert_eq!(mask(&mask(&text)), HIDDEN, "{}", name);
        }
    }
}
