//! Readings that take several questions.

use std::time::Duration;

use super::*;
use crate::codec::cjt188::UnitPlace;
use crate::device::serial::Parity;
use crate::model::Value;

const LINE: Line = Line { baud: 2400, parity: Parity::Even, stop_bits: 1 };

fn meter(address: Address) -> Meter {
    let ms = Duration::from_millis;
    Meter {
        device: "meter-1".parse().expect("a device id"),
        address,
        line: LINE,
        timing: Timing::of(LINE, ms(20), ms(500), ms(1000)),
        watch_clock: true,
        points: Vec::new(),
    }
}

fn electricity() -> Meter {
    meter(Address::Dlt645("201000000012".parse().expect("an address")))
}

fn said(data: &[u8], more: bool) -> Answer {
    let address = "201000000012".parse().expect("an address");
    Answer::Dlt645(dlt645::Answer { address, more, data: data.to_vec() })
}

fn exchange(meter: &Meter, want: Want) -> Exchange {
    Exchange::new(meter, want, &mut Habits::default()).expect("the meter speaks of such things")
}

fn seq(exchange: &Exchange) -> Option<u8> {
    match exchange.question().asked {
        Asked::Dlt645(dlt645::Request::Follow { seq, .. }) => Some(seq),
        _ => None,
    }
}

#[test]
fn a_long_answer_is_put_together() {
    let block = Identifier::v2007(0x0001_FF00);
    let mut exchange = exchange(&electricity(), Want::Dlt645(block));
    assert_eq!(seq(&exchange), None);
    assert_eq!(exchange.answered(said(&[0x26, 0x80, 0x22, 0x11, 0x01], true)), Step::Ask);
    assert_eq!(seq(&exchange), Some(1));
    assert_eq!(exchange.answered(said(&[0, 0], true)), Step::Ask);
    assert_eq!(seq(&exchange), Some(2));
    let Step::Done(Content::Items { items, .. }) = exchange.answered(said(&[0], false)) else {
        panic!("the last frame completes it")
    };
    let shown: Vec<_> = items
        .iter()
        .map(|item| match &item.value {
            Some(Value::Number(number)) => format!("{} {number} {}", item.name, item.unit),
            other => format!("{} {other:?}", item.name),
        })
        .collect();
    assert_eq!(
        shown,
        ["forward_active_energy_total 112280.26 kWh", "forward_active_energy_tariff_1 0.01 kWh"]
    );
}

#[test]
fn an_answer_without_end_or_of_a_wrong_length_is_no_reading() {
    let total = Identifier::v2007(0x0001_0000);
    let mut endless = exchange(&electricity(), Want::Dlt645(total));
    let mut asked = 1;
    while endless.answered(said(&[0; 10], true)) == Step::Ask {
        asked += 1;
    }
    assert_eq!(asked, FOLLOW_FRAMES_MAX);
    let mut long = exchange(&electricity(), Want::Dlt645(total));
    assert!(matches!(long.answered(said(&[0x12, 0, 0, 0, 1], false)), Step::Unusable(_)));
}

#[test]
fn a_clock_is_date_and_time_of_one_day() {
    // 2026-11-21 (a Saturday) 23:59:58, as on the wire.
    let (date, next, time) = ([6, 0x21, 0x11, 0x26], [0, 0x22, 0x11, 0x26], [0x58, 0x59, 0x23]);
    for edition in [Edition::V2007, Edition::V1997] {
        let mut good = exchange(&electricity(), Want::Dlt645Clock(edition));
        let mut asked = Vec::new();
        for part in [&date[..], &time, &date] {
            asked.push(good.question().asked);
            let step = good.answered(said(part, false));
            if asked.len() == 3 {
                assert_eq!(step, Step::Done(Content::Clock(Some(1_795_305_598_000))));
            }
        }
        assert!(asked[0] == asked[2] && asked[0] != asked[1]);
        let mut midnight = exchange(&electricity(), Want::Dlt645Clock(edition));
        assert_eq!(midnight.answered(said(&date, false)), Step::Ask);
        assert_eq!(midnight.answered(said(&time, false)), Step::Ask);
        assert!(matches!(midnight.answered(said(&next, false)), Step::Unusable(_)));
    }
}

fn water(order: Option<IdentifierOrder>) -> Meter {
    let address = "00000805000001".parse().expect("an address");
    let unit = UnitPlace::Behind;
    meter(Address::Cjt188(Cjt188 { address, kind: 0x10, order, unit, any_ser: false, leader: 4 }))
}

/// Order of the identifier and serial number of the next question.
fn asked_of_water(meter: &Meter, habits: &mut Habits) -> (IdentifierOrder, u8) {
    let exchange = Exchange::new(meter, Want::Cjt188(cjt188::Identifier::READING), habits);
    match exchange.expect("a question").question().asked {
        Asked::Cjt188(cjt188::Request::Read { order, ser, .. }) => (order, ser),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_three_silences_the_other_order_is_tried_unless_one_is_configured() {
    use IdentifierOrder::{HighFirst, LowFirst};
    let mut habits = Habits::default();
    let orders: Vec<_> = (0..7)
        .map(|_| {
            let (order, _) = asked_of_water(&water(None), &mut habits);
            habits.silent();
            order
        })
        .collect();
    assert_eq!(orders, [HighFirst, HighFirst, HighFirst, LowFirst, LowFirst, LowFirst, HighFirst]);
    assert_eq!(asked_of_water(&water(Some(LowFirst)), &mut habits).0, LowFirst);
    let (_, first) = asked_of_water(&water(None), &mut habits);
    let (_, second) = asked_of_water(&water(None), &mut habits);
    assert_eq!(second, first.wrapping_add(1), "each question has a number of its own");
}

fn telegram_asked(exchange: &Exchange) -> mbus::Request {
    match exchange.question().asked {
        Asked::Mbus(request) => request,
        other => panic!("{other:?}"),
    }
}

fn acknowledged() -> Answer {
    Answer::Mbus(mbus::Answer { address: 5, data: Vec::new(), more: false })
}

/// A volume of 12.345 m3, and whether more follows.
fn volume(more: bool) -> Answer {
    let header = [0x72, 0x78, 0x56, 0x34, 0x12, 0x24, 0x40, 1, 7, 0x55, 0, 0, 0];
    let mut data = [&header[..], &[0x0C, 0x13, 0x45, 0x23, 0x01, 0x00]].concat();
    data.extend(more.then_some(0x1F));
    Answer::Mbus(mbus::Answer { address: 5, data, more })
}

#[test]
fn an_mbus_meter_is_reset_once_and_its_frame_count_bit_toggles() {
    let meter = meter(Address::Mbus(mbus::Address::Primary(5)));
    let mut habits = Habits::default();
    let data = |fcb| mbus::Request::Data { address: 5, fcb, id: None };
    let mut first = Exchange::new(&meter, Want::Mbus, &mut habits).expect("a question");
    assert_eq!(telegram_asked(&first), mbus::Request::Reset { address: 5 });
    assert_eq!(first.answered(acknowledged()), Step::Ask);
    assert_eq!(telegram_asked(&first), data(true));
    assert_eq!(first.answered(volume(true)), Step::Ask);
    assert_eq!(telegram_asked(&first), data(false));
    let Step::Done(Content::Items { items, .. }) = first.answered(volume(false)) else { panic!("the end") };
    assert_eq!((items.len(), &*items[0].name, items[0].unit), (2, "volume", "m3"));
    habits.answered(&first);
    let second = Exchange::new(&meter, Want::Mbus, &mut habits).expect("a question");
    assert_eq!(telegram_asked(&second), data(true));
    habits.silent();
    let third = Exchange::new(&meter, Want::Mbus, &mut habits).expect("a question");
    assert_eq!(telegram_asked(&third), mbus::Request::Reset { address: 5 });
}

#[test]
fn a_secondary_address_is_selected_every_time() {
    let meter = meter(Address::Mbus(mbus::Address::Secondary(0x1234_5678)));
    let mut habits = Habits::default();
    for _ in 0..2 {
        let mut exchange = Exchange::new(&meter, Want::Mbus, &mut habits).expect("a question");
        assert_eq!(telegram_asked(&exchange), mbus::Request::Select { id: 0x1234_5678 });
        assert_eq!(exchange.answered(acknowledged()), Step::Ask);
        let data = mbus::Request::Data { address: mbus::SELECTED, fcb: true, id: Some(0x1234_5678) };
        assert_eq!(telegram_asked(&exchange), data);
        habits.answered(&exchange);
    }
}

#[test]
fn a_meter_that_always_has_more_is_left_after_some_telegrams() {
    let meter = meter(Address::Mbus(mbus::Address::Primary(5)));
    let mut exchange = exchange(&meter, Want::Mbus);
    assert_eq!(exchange.answered(acknowledged()), Step::Ask);
    let mut telegrams = 1;
    while exchange.answered(volume(true)) == Step::Ask {
        telegrams += 1;
    }
    assert_eq!(telegrams, TELEGRAMS_MAX);
}

#[test]
fn a_meter_is_not_asked_in_another_protocol() {
    for want in [Want::Mbus, Want::Cjt188(cjt188::Identifier::READING)] {
        assert_eq!(Exchange::new(&electricity(), want, &mut Habits::default()), None);
    }
    let mut exchange = exchange(&electricity(), Want::Dlt645(Identifier::v2007(0x0001_0000)));
    assert!(matches!(exchange.answered(Answer::Written), Step::Unusable(_)));
}
