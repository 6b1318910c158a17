//! Tables of how a stream opens and ends, and a property: whatever the schedule of seals, losses, acks, credit and
//! broken lines, the consumer ends up with exactly what was sealed for it and not declared lost.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use prost_types::Duration as ProtoDuration;

use super::*;
use crate::approval::{Approval, Asked, Grants, State};
use crate::model::Consumer;
use crate::share::fake::{EPOCH, Fake, line};
use crate::share::position::{Mark, Position};
use v1::streaming_pull_request::Frame as Ask;

const ME: &str = "city";

fn lines() -> InForce {
    InForce::of(vec![
        line("A", Lane::Alarm, &[ME]),
        line("W", Lane::Aggregate, &[ME]),
        line("R", Lane::Bulk, &[ME, "police"]),
        line("other", Lane::Bulk, &["police"]),
    ])
}

/// The same, with one of every lane.
fn every() -> InForce {
    let mut lines = lines().lines.to_vec();
    lines.extend([line("C", Lane::Result, &[ME]), line("T", Lane::Audit, &[ME])]);
    InForce::of(lines)
}

fn mine(lane: Lane) -> &'static str {
    ["A", "A", "C", "W", "T", "R"][lane.index()]
}

fn at(mono_ms: u64) -> Stamp {
    Stamp { wall_ms: i64::try_from(mono_ms).expect("small"), mono_ms }
}

fn stand(heads: [u64; Lane::ALL.len()], acked: [u64; Lane::ALL.len()]) -> Stand {
    Stand { epoch: EPOCH, heads: heads.map(Seq), acked: acked.map(Seq) }
}

fn credit(lane: Lane, messages: u32, bytes: u64) -> v1::Credit {
    v1::Credit { lane: wire::lane_number(lane), messages, bytes }
}

fn ask(frame: Ask) -> v1::StreamingPullRequest {
    v1::StreamingPullRequest { frame: Some(frame) }
}

fn ack(lane: Lane, seq: u64) -> v1::StreamingPullRequest {
    let upto = Some(wire::cursor(EPOCH, lane, Seq(seq)));
    ask(Ask::Ack(v1::CumulativeAck { upto, head_hash: Vec::new() }))
}

fn opened(open: v1::PullOpen, heads: [u64; Lane::ALL.len()]) -> Session {
    let consumer: Consumer = ME.parse().expect("consumer");
    Session::open(consumer, open, stand(heads, [0; Lane::ALL.len()]), &lines(), at(0)).expect("opens")
}

#[test]
fn an_open_that_cannot_be_is_refused_with_its_reason() {
    let open = v1::PullOpen::default;
    let resume = |cursors: Vec<v1::Cursor>| v1::PullOpen { resume: cursors, ..open() };
    let alarm = |seq| wire::cursor(EPOCH, Lane::Alarm, Seq(seq));
    let short = v1::Cursor { stream_epoch: vec![1; 3], ..alarm(1) };
    let negative = Some(ProtoDuration { seconds: -1, nanos: 0 });
    let cases = [
        ("no line", "stranger", open(), "not_listed"),
        ("unknown filter", ME, v1::PullOpen { share_items: vec!["X".into()], ..open() }, "not_listed"),
        ("old epoch", ME, resume(vec![wire::cursor(Epoch([1; 16]), Lane::Alarm, Seq(1))]), "epoch_changed"),
        ("ahead", ME, resume(vec![alarm(11)]), "ahead_of_head"),
        ("no lane", ME, resume(vec![v1::Cursor { lane: 0, ..alarm(1) }]), "malformed"),
        ("short epoch", ME, resume(vec![short]), "malformed"),
        ("twice", ME, resume(vec![alarm(1), alarm(2)]), "malformed"),
        ("heartbeat", ME, v1::PullOpen { idle_heartbeat: negative, ..open() }, "malformed"),
    ];
    for (what, consumer, open, reason) in cases {
        let consumer: Consumer = consumer.parse().expect("consumer");
        let refused = Session::open(
            consumer,
            open,
            stand([10; Lane::ALL.len()], [0; Lane::ALL.len()]),
            &lines(),
            at(0),
        )
        .expect_err(what);
        assert_eq!(refused.reason(), reason, "{what}");
    }
}

#[test]
fn a_lane_starts_at_its_cursor_or_at_the_stored_ack_and_waits_for_credit() {
    let open = v1::PullOpen {
        resume: vec![v1::Cursor { stream_epoch: vec![], ..wire::cursor(EPOCH, Lane::Alarm, Seq(4)) }],
        initial_credit: vec![credit(Lane::Bulk, 7, 1000)],
        ..v1::PullOpen::default()
    };
    let consumer: Consumer = ME.parse().expect("consumer");
    let mut session =
        Session::open(consumer, open, stand([9; Lane::ALL.len()], [1, 0, 0, 2, 0, 3]), &lines(), at(0))
            .expect("opens");
    let first = session.poll(true, &lines(), at(0));
    assert!(
        matches!(
            first,
            Some(Action::Read { lane: Lane::Bulk, after: Seq(3), records_max: 7, bytes_max: 1000 })
        ),
        "{first:?}"
    );
    assert!(session.poll(true, &lines(), at(0)).is_none(), "one read at a time");
    session.page(Page {
        lane: Lane::Bulk,
        after: Seq(3),
        records: vec![],
        gaps: vec![],
        through: Seq(3),
        head: Seq(3),
    });
    session.frame(ask(Ask::Credit(credit(Lane::Alarm, 1, 1))));
    let next = session.poll(true, &lines(), at(0));
    assert!(matches!(next, Some(Action::Read { lane: Lane::Alarm, after: Seq(4), .. })), "{next:?}");
}

#[test]
fn frames_that_do_not_belong_end_the_stream() {
    let strange = v1::StreamingPullRequest { frame: None };
    let hash = v1::CumulativeAck { upto: Some(wire::cursor(EPOCH, Lane::Bulk, Seq(1))), head_hash: vec![1] };
    let cases = [
        ("unknown arm", strange),
        ("second open", ask(Ask::Open(v1::PullOpen::default()))),
        ("lane", ask(Ask::Credit(v1::Credit { lane: 77, messages: 1, bytes: 1 }))),
        ("no position", ask(Ask::Ack(v1::CumulativeAck::default()))),
        ("short hash", ask(Ask::Ack(hash))),
    ];
    for (what, frame) in cases {
        let mut session = opened(v1::PullOpen::default(), [0; Lane::ALL.len()]);
        session.frame(frame);
        let Some(Action::End(Err(refused))) = session.poll(false, &lines(), at(0)) else { panic!("{what}") };
        assert_eq!(refused.reason(), "malformed", "{what}");
        assert!(session.poll(true, &lines(), at(0)).is_none(), "nothing comes after the end");
    }
}

#[test]
fn acks_are_stored_one_by_one_and_confirmed_and_a_close_waits_for_them() {
    let mut session = opened(v1::PullOpen::default(), [9; Lane::ALL.len()]);
    session.frame(ack(Lane::Bulk, 3));
    let Some(Action::Ack(first)) = session.poll(false, &lines(), at(0)) else { panic!("no ack") };
    assert_eq!((first.lane, first.upto), (Lane::Bulk, Seq(3)));
    for seq in [4, 6, 5] {
        session.frame(ack(Lane::Bulk, seq));
    }
    session.frame(ask(Ask::Close(v1::PullClose::default())));
    assert!(session.poll(true, &lines(), at(0)).is_none(), "the first ack is under way");
    session.acked(Ok(Acked { upto: Seq(3), hash_matched: true }));
    let Some(Action::Send(frame)) = session.poll(true, &lines(), at(0)) else { panic!("no frame") };
    let Some(Response::AckConfirmation(confirmed)) = frame.frame else { panic!("no confirmation") };
    assert_eq!((confirmed.upto.map(|c| c.seq), confirmed.hash_matched), (Some(3), true));
    let Some(Action::Ack(second)) = session.poll(false, &lines(), at(0)) else { panic!("no ack") };
    assert_eq!(second.upto, Seq(6), "what overtakes is answered once");
    session.acked(Ok(Acked { upto: Seq(6), hash_matched: false }));
    assert!(session.poll(false, &lines(), at(0)).is_none(), "the confirmation waits for room");
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Send(_))));
    assert!(matches!(session.poll(false, &lines(), at(0)), Some(Action::End(Ok(())))));

    let mut session = opened(v1::PullOpen::default(), [9; Lane::ALL.len()]);
    session.frame(ack(Lane::Bulk, 10));
    assert!(matches!(session.poll(false, &lines(), at(0)), Some(Action::Ack(_))));
    session.acked(Err(AckRefused::Ahead { lane: Lane::Bulk, upto: Seq(10), head: Seq(9) }));
    let end = session.poll(false, &lines(), at(0));
    assert!(matches!(&end, Some(Action::End(Err(why))) if why.reason() == "ahead_of_head"), "{end:?}");
}

#[test]
fn silence_is_broken_by_heartbeats_and_a_stop_by_draining() {
    let idle = Some(ProtoDuration { seconds: 5, nanos: 0 });
    let mut session =
        opened(v1::PullOpen { idle_heartbeat: idle, ..v1::PullOpen::default() }, [9, 0, 0, 8, 0, 7]);
    assert_eq!(session.wakeup_ms(), 5_000);
    assert!(session.poll(true, &lines(), at(4_999)).is_none());
    let Some(Action::Send(frame)) = session.poll(true, &lines(), at(5_000)) else { panic!("no frame") };
    let Some(Response::Heartbeat(heartbeat)) = frame.frame else { panic!("no heartbeat") };
    assert_eq!(heartbeat.heads.iter().map(|head| head.seq).collect::<Vec<_>>(), [9, 0, 8, 7]);
    assert_eq!(session.wakeup_ms(), 10_000);
    session.drain();
    let Some(Action::Send(frame)) = session.poll(true, &lines(), at(5_001)) else { panic!("no frame") };
    assert!(matches!(frame.frame, Some(Response::Draining(_))));
    assert!(matches!(session.poll(false, &lines(), at(5_001)), Some(Action::End(Ok(())))));
}

/// An approval that ends and is renewed must not cost the records sealed in between: the lane stands still instead of
/// withholding them.
#[test]
fn a_lane_without_a_line_stands_still_and_a_consumer_without_any_is_sent_away() {
    let grants = Lane::ALL.map(|lane| credit(lane, 100, 1000)).to_vec();
    let mut session =
        opened(v1::PullOpen { initial_credit: grants, ..v1::PullOpen::default() }, [0, 0, 0, 0, 0, 5]);
    let mut expiring = lines().lines.to_vec();
    expiring[2].until_ms = Some(100);
    let expiring = InForce::of(expiring);
    let Some(Action::Read { lane: Lane::Bulk, .. }) = session.poll(true, &expiring, at(99)) else {
        panic!("no read")
    };
    let fake = Fake::new();
    for _ in 0..5 {
        fake.seal(Lane::Bulk, "R", "x");
    }
    session.page(fake.read(Lane::Bulk, Seq(0), 100, 1000));
    assert!(session.poll(true, &expiring, at(100)).is_none(), "not a record after the end of the approval");
    let renewed = session.poll(true, &lines(), at(200));
    assert!(matches!(renewed, Some(Action::Read { lane: Lane::Bulk, after: Seq(0), .. })), "{renewed:?}");
    let end = session.poll(true, &InForce::default(), at(201));
    assert!(matches!(&end, Some(Action::End(Err(why))) if why.reason() == "not_listed"), "{end:?}");
}

#[test]
fn a_slow_line_gets_smaller_reads_and_a_fast_one_larger_ones_again() {
    let fake = Fake::new();
    for _ in 0..40 {
        fake.seal(Lane::Bulk, "R", "x");
    }
    let open =
        v1::PullOpen { initial_credit: vec![credit(Lane::Bulk, 1000, 1 << 30)], ..v1::PullOpen::default() };
    let mut session = opened(open, [0, 0, 0, 0, 0, 40]);
    let (mut now, mut sizes) = (0, Vec::new());
    for round in 0..30u64 {
        let Some(Action::Read { after, bytes_max, .. }) = session.poll(true, &lines(), at(now)) else {
            panic!("no read in round {round}")
        };
        sizes.push(bytes_max);
        session.page(fake.read(Lane::Bulk, after, 1, bytes_max));
        assert!(matches!(session.poll(true, &lines(), at(now)), Some(Action::Deliver(_))));
        session.delivered();
        assert!(matches!(session.poll(true, &lines(), at(now)), Some(Action::Send(_))));
        now += if round < 10 { SLOW_MS + 1 } else { 1 };
    }
    assert_eq!((sizes[0], sizes[1]), (BATCH_BYTES_MAX, BATCH_BYTES_MAX / 2));
    assert_eq!(sizes[10], READ_BYTES_MIN);
    assert_eq!(sizes[29], BATCH_BYTES_MAX);
}

/// The share list with a line of single readings in tier T1, and what an approval of it in this state comes to.
fn tiered(state: State, used_ms: Option<i64>) -> InForce {
    let mut list = lines().lines.to_vec();
    list[2].tier = Some("T1".parse().expect("a tier"));
    let asked = Asked {
        share: "R".parse().expect("a line"),
        consumer: ME.parse().expect("a consumer"),
        certificate: None,
        requester: "li".into(),
        purpose: "test".into(),
        tier: "T1".parse().expect("a tier"),
        asked_ms: 0,
        not_before_ms: 0,
        not_after_ms: 200_000,
        max_uses: Some(2),
        reason: "".into(),
    };
    let approval = Approval {
        id: ApprovalId([1; 16]),
        asked,
        state,
        votes: Vec::new(),
        uses: u32::from(used_ms.is_some()),
        used_ms,
        changed_ms: 0,
        revoked: Default::default(),
    };
    let key = (approval.asked.share.clone(), approval.asked.consumer.clone());
    InForce { grants: Grants::of([&approval], [(&key, &state)]).into(), ..InForce::of(list) }
}

#[test]
fn a_line_in_a_tier_hands_out_what_is_granted_once_a_use_has_begun_and_stops_at_the_next_batch() {
    let open = || v1::PullOpen {
        share_items: vec!["R".into()],
        initial_credit: vec![credit(Lane::Bulk, 10, 1000)],
        ..v1::PullOpen::default()
    };
    let me: Consumer = ME.parse().expect("consumer");
    let heads = stand([0, 0, 0, 0, 0, 2], [0; Lane::ALL.len()]);
    for (state, reason) in [
        (State::Pending, "approval_missing"),
        (State::Refused, "approval_missing"),
        (State::Expired, "approval_expired"),
        (State::Revoked, "approval_revoked"),
        (State::UsedUp, "approval_used_up"),
    ] {
        let refused =
            Session::open(me.clone(), open(), heads, &tiered(state, None), at(5)).expect_err("refused");
        assert_eq!(refused.reason(), reason);
    }
    let fake = Fake::new();
    fake.seal(Lane::Bulk, "R", "one");
    fake.seal(Lane::Bulk, "R", "two");
    let page = |after| fake.read(Lane::Bulk, Seq(after), 1, 1000);
    let granted = tiered(State::Granted, None);
    let mut session = Session::open(me, open(), heads, &granted, at(5)).expect("opens");
    assert!(matches!(session.poll(true, &granted, at(5)), Some(Action::Read { after: Seq(0), .. })));
    session.page(page(0));
    let Some(Action::Use(id)) = session.poll(true, &granted, at(5)) else {
        panic!("handed out without a use")
    };
    assert_eq!(id, ApprovalId([1; 16]));
    assert!(session.poll(true, &granted, at(5)).is_none(), "nothing is read meanwhile");
    let used = tiered(State::Granted, Some(6));
    session.used(Ok(()));
    assert!(matches!(session.poll(true, &used, at(7)), Some(Action::Read { after: Seq(0), .. })));
    session.page(page(0));
    assert!(matches!(session.poll(true, &used, at(7)), Some(Action::Deliver(row)) if row.to == Seq(1)));
    session.delivered();
    let Some(Action::Send(frame)) = session.poll(true, &used, at(7)) else { panic!("no batch") };
    assert!(matches!(frame.frame, Some(Response::Batch(batch)) if batch.records.len() == 1));
    // A page that was read before somebody revoked is not sent.
    assert!(matches!(session.poll(true, &used, at(8)), Some(Action::Read { after: Seq(1), .. })));
    let revoked = tiered(State::Revoked, Some(6));
    session.page(page(1));
    let Some(Action::End(Err(refused))) = session.poll(true, &revoked, at(8)) else { panic!("no end") };
    assert_eq!(refused.reason(), "approval_revoked");
}

#[test]
fn a_use_that_is_refused_twice_running_ends_the_stream() {
    let granted = tiered(State::Granted, None);
    let open = v1::PullOpen { initial_credit: vec![credit(Lane::Bulk, 10, 1000)], ..v1::PullOpen::default() };
    let me: Consumer = ME.parse().expect("consumer");
    let heads = stand([0, 0, 0, 0, 0, 1], [0; Lane::ALL.len()]);
    let mut session = Session::open(me, open, heads, &granted, at(5)).expect("opens");
    let fake = Fake::new();
    fake.seal(Lane::Bulk, "R", "one");
    for _ in 0..2 {
        assert!(matches!(session.poll(true, &granted, at(5)), Some(Action::Read { .. })));
        session.page(fake.read(Lane::Bulk, Seq(0), 1, 1000));
        assert!(matches!(session.poll(true, &granted, at(5)), Some(Action::Use(_))));
        session.used(Err(approval::Refused::NotHeld(ApprovalId([1; 16]))));
    }
    let Some(Action::End(Err(refused))) = session.poll(true, &granted, at(5)) else { panic!("no end") };
    assert_eq!(refused.reason(), "approval_order");
}

#[test]
fn an_endless_stream_of_alarms_leaves_the_others_one_batch_in_sixteen() {
    let fake = Fake::new();
    let grants = [(Lane::Alarm, 10_000), (Lane::Aggregate, 1), (Lane::Bulk, 1)];
    let open = v1::PullOpen {
        initial_credit: grants.map(|(lane, messages)| credit(lane, messages, 1 << 30)).to_vec(),
        ..v1::PullOpen::default()
    };
    let mut session = opened(open, [0; Lane::ALL.len()]);
    for _ in 0..200 {
        fake.seal(Lane::Aggregate, "W", "w");
        fake.seal(Lane::Bulk, "R", "r");
    }
    let mut reads = Vec::new();
    for _ in 0..160 {
        let alarm = fake.seal(Lane::Alarm, "A", "a");
        session.heads(&[alarm, Seq(0), Seq(0), Seq(200), Seq(0), Seq(200)]);
        let Some(Action::Read { lane, after, records_max, bytes_max }) = session.poll(true, &lines(), at(0))
        else {
            panic!("no read")
        };
        reads.push(lane);
        session.page(fake.read(lane, after, records_max, bytes_max));
        assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Deliver(_))));
        session.delivered();
        assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Send(_))));
        if lane != Lane::Alarm {
            session.frame(ask(Ask::Credit(credit(lane, 1, 0))));
        }
    }
    for lane in [Lane::Aggregate, Lane::Bulk] {
        assert!(reads.windows(16).all(|batches| batches.contains(&lane)), "{lane}: {reads:?}");
    }
    assert!(reads.iter().filter(|lane| **lane == Lane::Alarm).count() >= 160 * 13 / 16);
    assert!(reads.windows(3).all(|three| three.contains(&Lane::Alarm)));
}

fn sealed_bulk(count: usize) -> (Fake, Session) {
    let fake = Fake::new();
    for _ in 0..count {
        fake.seal(Lane::Bulk, "R", "x");
    }
    let grants = Lane::ALL.map(|lane| credit(lane, 1000, 1 << 30)).to_vec();
    let heads = [0, 0, 0, 0, 0, count as u64];
    (fake, opened(v1::PullOpen { initial_credit: grants, ..v1::PullOpen::default() }, heads))
}

#[test]
fn a_batch_leaves_after_its_row_and_the_next_page_is_read_meanwhile() {
    let (fake, mut session) = sealed_bulk(3);
    let poll = |session: &mut Session, room| session.poll(room, &lines(), at(0));
    assert!(matches!(poll(&mut session, true), Some(Action::Read { after: Seq(0), .. })));
    session.page(fake.read(Lane::Bulk, Seq(0), 1, 1000));
    let Some(Action::Deliver(row)) = poll(&mut session, true) else { panic!("no row") };
    assert_eq!((row.lane, row.from, row.to), (Lane::Bulk, Seq(1), Seq(1)));
    assert_eq!(row.under, Some(("test".into(), "AP-1".into())));
    assert!(matches!(poll(&mut session, true), Some(Action::Read { after: Seq(1), .. })));
    session.page(fake.read(Lane::Bulk, Seq(1), 1, 1000));
    assert!(poll(&mut session, true).is_none(), "nothing leaves before its row, and one page is ahead");
    session.delivered();
    assert!(poll(&mut session, false).is_none(), "the next row waits until the batch has left");
    assert!(matches!(poll(&mut session, true), Some(Action::Send(_))));
    assert!(poll(&mut session, false).is_none(), "a row is written when its batch can leave");
    let Some(Action::Deliver(row)) = poll(&mut session, true) else { panic!("no row") };
    assert_eq!((row.from, row.to), (Seq(2), Seq(2)));

    session.frame(ask(Ask::Close(v1::PullClose::default())));
    assert!(poll(&mut session, false).is_none(), "what is on its way into the trail is waited for");
    session.delivered();
    assert!(matches!(poll(&mut session, true), Some(Action::Send(_))));
    assert!(matches!(poll(&mut session, true), Some(Action::End(Ok(())))));
}

/// A page that was read ahead is held against the share list when it leaves, not when it was read.
#[test]
fn a_line_that_ends_takes_back_what_was_read_ahead() {
    let (fake, mut session) = sealed_bulk(2);
    let mut ending = lines().lines.to_vec();
    ending[2].until_ms = Some(100);
    let ending = InForce::of(ending);
    assert!(matches!(session.poll(true, &ending, at(0)), Some(Action::Read { .. })));
    session.page(fake.read(Lane::Bulk, Seq(0), 1, 1000));
    assert!(matches!(session.poll(true, &ending, at(0)), Some(Action::Deliver(_))));
    assert!(matches!(session.poll(true, &ending, at(0)), Some(Action::Read { .. })));
    session.page(fake.read(Lane::Bulk, Seq(1), 1, 1000));
    session.delivered();
    assert!(matches!(session.poll(true, &ending, at(99)), Some(Action::Send(_))));
    assert!(session.poll(true, &ending, at(100)).is_none(), "not a record after the end of the approval");
}

#[test]
fn an_alarm_overtakes_a_page_that_was_read_ahead_until_its_lane_has_waited_long() {
    let (fake, mut session) = sealed_bulk(2);
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Read { .. })));
    session.page(fake.read(Lane::Bulk, Seq(0), 1, 1000));
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Deliver(_))));
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Read { lane: Lane::Bulk, .. })));
    session.page(fake.read(Lane::Bulk, Seq(1), 1, 1000));
    let alarm = fake.seal(Lane::Alarm, "A", "a");
    session.heads(&[alarm, Seq(0), Seq(0), Seq(0), Seq(0), Seq(2)]);
    session.delivered();
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Send(_))));
    let next = session.poll(true, &lines(), at(0));
    assert!(matches!(next, Some(Action::Read { lane: Lane::Alarm, .. })), "{next:?}");
    assert_eq!(session.flows[Lane::Bulk.index()].passed_over, 1);
    session.flows[Lane::Bulk.index()].passed_over = PASSED_OVER_MAX;
    session.page(fake.read(Lane::Alarm, Seq(0), 1, 1000));
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Deliver(_))));
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Read { lane: Lane::Bulk, .. })));
    let alarm = fake.seal(Lane::Alarm, "A", "a");
    session.heads(&[alarm, Seq(0), Seq(0), Seq(0), Seq(0), Seq(2)]);
    session.page(fake.read(Lane::Bulk, Seq(1), 1, 1000));
    session.delivered();
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Send(_))));
    let Some(Action::Deliver(row)) = session.poll(true, &lines(), at(0)) else { panic!("no row") };
    assert_eq!(row.lane, Lane::Bulk, "it has waited long enough");
}

fn checkpoint(size: u64) -> Checkpoint {
    let head = crate::audit::chain::Head { seq: size, hash: [size as u8; 32] };
    Checkpoint { origin: "smallbrain/07".into(), head, at_ms: 5, signature: vec![1; 64] }
}

#[test]
fn a_new_checkpoint_is_told_once_by_a_heartbeat_of_its_own() {
    let mut session = opened(v1::PullOpen::default(), [0; Lane::ALL.len()]);
    let told = |session: &mut Session, now| match session.poll(true, &lines(), at(now)) {
        Some(Action::Send(v1::StreamingPullResponse { frame: Some(Response::Heartbeat(beat)) })) => {
            Some(beat.audit.map(|audit| audit.size))
        }
        None => None,
        other => panic!("{other:?}"),
    };
    session.checkpoint(None);
    assert_eq!(told(&mut session, 0), None);
    for (size, now) in [(3, 1), (5, 2)] {
        session.checkpoint(Some(&checkpoint(size)));
        assert!(session.poll(false, &lines(), at(now)).is_none(), "it waits for room");
        assert_eq!(told(&mut session, now), Some(Some(size)));
        session.checkpoint(Some(&checkpoint(size)));
        assert_eq!(told(&mut session, now), None, "once");
    }
    assert_eq!(told(&mut session, 2 + HEARTBEAT_MS), Some(Some(5)), "and with each sign of life");
}

#[test]
fn a_witness_is_noted_and_a_fork_ends_the_stream() {
    let witness = |size, head: &[u8]| ask(Ask::Witness(v1::AuditWitness { size, head: head.to_vec() }));
    for (what, frame) in [("no rows", witness(0, &[1; 32])), ("no hash", witness(3, &[1; 31]))] {
        let mut session = opened(v1::PullOpen::default(), [0; Lane::ALL.len()]);
        session.frame(frame);
        let end = session.poll(true, &lines(), at(0));
        assert!(
            matches!(&end, Some(Action::End(Err(why))) if why.reason() == "malformed"),
            "{what}: {end:?}"
        );
    }
    let mut session = opened(v1::PullOpen::default(), [0; Lane::ALL.len()]);
    session.frame(witness(3, &[3; 32]));
    let noted = session.poll(false, &lines(), at(0));
    assert!(matches!(noted, Some(Action::Witness { size: 3, head }) if head == [3; 32]), "{noted:?}");
    session.frame(witness(4, &[4; 32]));
    session.frame(witness(5, &[5; 32]));
    session.frame(ask(Ask::Close(v1::PullClose::default())));
    assert!(session.poll(true, &lines(), at(0)).is_none(), "one at a time, and the end waits for it");
    session.witnessed(Ok(()));
    assert!(matches!(session.poll(true, &lines(), at(0)), Some(Action::Witness { size: 5, .. })));
    session.witnessed(Err(WitnessRefused::Fork { size: 5 }));
    let end = session.poll(true, &lines(), at(0));
    assert!(matches!(&end, Some(Action::End(Err(why))) if why.reason() == "audit_fork"), "{end:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Seal { lane: usize, mine: bool, length: usize },
    Lose { lane: usize, count: u64 },
    Credit { lane: usize, messages: u32, bytes: u64 },
    Ack { lane: usize },
    Room,
    Answer,
    Written,
    Break { forget: bool },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let lane = 0..Lane::ALL.len();
    prop_oneof![
        6 => (lane.clone(), prop::bool::weighted(0.7), 1..200usize)
            .prop_map(|(lane, mine, length)| Step::Seal { lane, mine, length }),
        1 => (lane.clone(), 1..5u64).prop_map(|(lane, count)| Step::Lose { lane, count }),
        4 => (lane.clone(), 0..6u32, 0..600u64)
            .prop_map(|(lane, messages, bytes)| Step::Credit { lane, messages, bytes }),
        2 => lane.prop_map(|lane| Step::Ack { lane }),
        5 => Just(Step::Room),
        6 => Just(Step::Answer),
        5 => Just(Step::Written),
        1 => any::<bool>().prop_map(|forget| Step::Break { forget }),
        1 => (1..30_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

#[derive(Default)]
struct Used {
    granted: (u64, u64),
    used: (u64, u64),
    passed_over: u32,
}

/// A consumer, its line, and the store: everything the session speaks with.
struct World {
    fake: Fake,
    lost: [u64; Lane::ALL.len()],
    session: Session,
    room: bool,
    now_ms: u64,
    page: Option<Page>,
    ack: Option<Result<Acked, AckRefused>>,
    /// On its way into the trail.
    row: Option<Delivered>,
    trail: Vec<Delivered>,
    batches: usize,
    /// The consumer's side; checks density, ids and hashes by itself.
    position: Position,
    received: BTreeMap<(Lane, u64), Bytes>,
    lanes: [Used; Lane::ALL.len()],
}

impl World {
    fn new() -> Self {
        let marks = Lane::ALL.map(|lane| (lane, Mark::default()));
        Self {
            fake: Fake::new(),
            lost: [0; Lane::ALL.len()],
            session: opened(v1::PullOpen::default(), [0; Lane::ALL.len()]),
            room: true,
            now_ms: 0,
            page: None,
            ack: None,
            row: None,
            trail: Vec::new(),
            batches: 0,
            position: Position { epoch: Some(EPOCH.to_string()), lanes: marks.into() },
            received: BTreeMap::new(),
            lanes: Default::default(),
        }
    }

    fn head(&self, lane: Lane) -> u64 {
        self.fake.sealed(lane).len() as u64
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Seal { lane, mine: for_me, length } => {
                let lane = Lane::ALL[lane];
                let item = if for_me || lane != Lane::Bulk { mine(lane) } else { "other" };
                self.fake.seal(lane, item, vec![self.head(lane) as u8; length]);
                self.heads();
            }
            Step::Lose { lane, count } => {
                let lost = self.lost[lane];
                self.fake.lose(Lane::ALL[lane], lost + 1, lost + count);
                self.lost[lane] = (lost + count).min(self.head(Lane::ALL[lane]));
            }
            Step::Credit { lane, messages, bytes } => {
                let granted = &mut self.lanes[lane].granted;
                *granted = (granted.0 + u64::from(messages), granted.1 + bytes);
                self.session.frame(ask(Ask::Credit(credit(Lane::ALL[lane], messages, bytes))));
            }
            Step::Ack { lane } => {
                let lane = Lane::ALL[lane];
                self.session.frame(ack(lane, self.position.lanes[&lane].seq));
            }
            Step::Room => self.room = true,
            Step::Answer => self.answer(),
            Step::Written => self.written(),
            Step::Break { forget } => self.reconnect(forget),
            Step::Wait { ms } => self.now_ms += ms,
        }
        self.pump();
    }

    fn heads(&mut self) {
        let heads = Lane::ALL.map(|lane| Seq(self.head(lane)));
        self.session.heads(&heads);
    }

    fn answer(&mut self) {
        if let Some(page) = self.page.take() {
            self.session.page(page);
        }
        if let Some(answer) = self.ack.take() {
            self.session.acked(answer);
        }
    }

    fn written(&mut self) {
        if let Some(row) = self.row.take() {
            self.trail.push(row);
            self.session.delivered();
        }
    }

    /// The line breaks, frames on their way are lost; the consumer comes back with its cursors or without.
    fn reconnect(&mut self, forget: bool) {
        let acked = self.fake.acked_now(ME);
        let mut resume = Vec::new();
        for lane in Lane::ALL {
            if forget {
                self.position.lanes.insert(lane, Mark { seq: acked[lane.index()].0, hash: None });
            } else {
                resume.extend(self.position.cursor(lane));
            }
        }
        let heads = Lane::ALL.map(|lane| self.head(lane));
        let stand = stand(heads, acked.map(|seq| seq.0));
        let open = v1::PullOpen { resume, ..v1::PullOpen::default() };
        let consumer: Consumer = ME.parse().expect("consumer");
        self.session = Session::open(consumer, open, stand, &lines(), at(self.now_ms)).expect("opens");
        // A row that is on its way arrives, whoever waits for it.
        self.trail.extend(self.row.take());
        (self.page, self.ack, self.room, self.lanes) = (None, None, true, Default::default());
    }

    fn pump(&mut self) {
        let force = every();
        while let Some(action) = self.session.poll(self.room, &force, at(self.now_ms)) {
            match action {
                Action::Use(id) => panic!("{id}: no line has a tier"),
                Action::Read { lane, after, records_max, bytes_max } => {
                    assert!(self.page.is_none(), "one read at a time");
                    self.page = Some(self.fake.read(lane, after, records_max, bytes_max));
                }
                Action::Ack(ack) => {
                    assert!(self.ack.is_none(), "one ack at a time");
                    self.ack = Some(self.fake.ack(&ack));
                }
                Action::Deliver(row) => {
                    assert!(self.row.is_none(), "one row at a time");
                    self.row = Some(row);
                }
                Action::Witness { .. } => panic!("nobody told of a witness"),
                Action::End(end) => panic!("ended: {end:?}"),
                Action::Send(frame) => {
                    assert!(self.room, "a frame without room");
                    self.room = false;
                    self.take(frame);
                }
            }
        }
    }

    /// Alarms first, and nobody waits for ever: with all lanes ready, the others may each have their turn, and the batch
    /// that is in the trail already leaves before them.
    fn priority(&mut self, chosen: Lane) {
        for lane in Lane::ALL {
            let used = &self.lanes[lane.index()];
            let left = (used.granted.0 - used.used.0, used.granted.1 - used.used.1);
            let ready = self.position.lanes[&lane].seq < self.head(lane) && left.0 > 0 && left.1 >= 200;
            let used = &mut self.lanes[lane.index()];
            used.passed_over = if ready && lane != chosen { used.passed_over + 1 } else { 0 };
            let most = if lane == Lane::Alarm { 6 } else { 16 };
            assert!(used.passed_over <= most, "{lane} was passed over {} times", used.passed_over);
        }
    }

    fn take(&mut self, frame: v1::StreamingPullResponse) {
        let Some(Response::Batch(batch)) = frame.frame else { return };
        let lane = wire::lane(batch.lane).expect("a lane");
        self.priority(lane);
        if let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) {
            let row = self.trail.last().expect("a row before the batch");
            assert_eq!((row.lane, row.from.0, row.to.0), (lane, first.seq, last.seq));
            assert_eq!(row.lines.iter().map(|(_, count)| *count).sum::<u64>(), batch.records.len() as u64);
            self.batches += 1;
            assert!(self.batches <= self.trail.len(), "the trail never says less than happened");
        }
        let taken = self.position.take(&batch).expect("the contract holds");
        let used = &mut self.lanes[lane.index()];
        used.used = (used.used.0 + taken.records, used.used.1 + taken.bytes);
        assert!(used.used.0 <= used.granted.0 && used.used.1 <= used.granted.1, "more than was granted");
        for record in batch.records {
            assert_eq!(record.share_item, mine(lane), "not for this consumer");
            let before = self.received.insert((lane, record.seq), record.body.clone());
            assert!(before.is_none_or(|before| before == record.body), "other bytes on redelivery");
        }
    }

    /// Credit without end and a line that works: everything that is owed arrives.
    fn settle(&mut self) {
        for lane in 0..Lane::ALL.len() {
            self.step(&Step::Credit { lane, messages: 1_000_000, bytes: 1 << 40 });
        }
        for _ in 0..2_000 {
            if Lane::ALL.iter().all(|lane| self.position.lanes[lane].seq == self.head(*lane)) {
                break;
            }
            self.step(&Step::Answer);
            self.step(&Step::Written);
            self.step(&Step::Room);
        }
        for lane in Lane::ALL {
            assert_eq!(self.position.lanes[&lane].seq, self.head(lane), "{lane} arrived");
            for (seq, slot) in (1..).zip(self.fake.sealed(lane)) {
                let received = self.received.get(&(lane, seq));
                match slot {
                    Some(record) if record.share_item.as_str() == mine(lane) => {
                        assert_eq!(received, Some(&record.body), "{lane} {seq}");
                    }
                    Some(_) => assert!(received.is_none(), "{lane} {seq} is another consumer's"),
                    // Lost after it was delivered, or never delivered and told as a gap.
                    None => {}
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn the_city_gets_what_was_sealed_minus_gaps_minus_withheld(
        steps in prop::collection::vec(step(), 1..400)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }

    #[test]
    fn a_full_backlog_in_every_lane_keeps_alarms_first_and_starves_nobody(
        bursts in prop::collection::vec((0..Lane::ALL.len(), 1..30usize), 1..20)
    ) {
        let mut world = World::new();
        for lane in 0..Lane::ALL.len() {
            world.step(&Step::Credit { lane, messages: 1_000_000, bytes: 1 << 40 });
        }
        for (lane, count) in bursts {
            for _ in 0..count {
                world.step(&Step::Seal { lane, mine: true, length: 50 });
            }
            world.step(&Step::Answer);
            world.step(&Step::Written);
            world.step(&Step::Room);
        }
        world.settle();
    }
}
