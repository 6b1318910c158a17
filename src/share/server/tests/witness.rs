//! The audit trail over real sockets: every answer carries its newest checkpoint, consumers bear witness, and what leaves
//! or is turned away has its row.

use std::sync::Mutex;

use super::*;
use crate::audit::chain::Head;
use crate::audit::checkpoint::Signer;
use crate::share::witness::{Book, Suspect};

fn signer() -> Signer {
    Signer::from_seed(&[7; 32]).expect("a seed")
}

fn made(size: u64) -> Checkpoint {
    signer().sign(b"trail", Head { seq: size, hash: [size as u8; 32] }, 1_000)
}

fn witness(size: u64, hash: u8) -> v1::AuditWitness {
    v1::AuditWitness { size, head: vec![hash; 32] }
}

fn reason(status: &tonic::Status) -> &[u8] {
    status.metadata().get("smallbrain-reason").expect("a reason").as_bytes()
}

#[tokio::test]
async fn every_answer_carries_the_newest_checkpoint() {
    let gate = Gate::loopback(CITY).await;
    gate.fake.seal(Lane::Bulk, "R", "x");
    let (_asks, mut told) = stream(gate.channel().await).await;
    assert!(matches!(next_frame(&mut told).await, Frame::Batch(_)));
    let mut records = RecordServiceClient::new(gate.channel().await);
    let mut status = StatusServiceClient::new(gate.channel().await);
    for (newest, size) in [(None, None), (Some(made(3)), Some(3)), (Some(made(5)), Some(5))] {
        gate.checkpoints.send_replace(newest.clone());
        let asked = v1::FetchRequest { after: Some(cursor(Lane::Bulk, 0)), ..v1::FetchRequest::default() };
        let fetched = soon(records.fetch(asked)).await.expect("a batch").into_inner().audit;
        let acked = soon(records.ack(v1::AckRequest::default())).await.expect("taken").into_inner().audit;
        let state = soon(status.get_status(v1::GetStatusRequest {})).await.expect("a state");
        for audit in [&fetched, &acked, &state.into_inner().audit] {
            assert_eq!(audit.as_ref().and_then(wire::checkpoint_of), newest, "{size:?}");
        }
        if size.is_some() {
            let Frame::Heartbeat(beat) = next_frame(&mut told).await else { panic!("a sign of life") };
            assert_eq!(beat.audit.and_then(|audit| wire::checkpoint_of(&audit)), newest);
        }
    }
    // Whoever comes later is told of it at once.
    let (_asks, mut told) = stream(gate.channel().await).await;
    let sizes = async {
        loop {
            if let Frame::Heartbeat(beat) = next_frame(&mut told).await {
                break beat.audit.map(|audit| audit.size);
            }
        }
    };
    assert_eq!(soon(sizes).await, Some(5));
}

#[tokio::test]
async fn a_witness_is_noted_and_another_past_is_data_loss() {
    let gate = Gate::loopback(CITY).await;
    let mut records = RecordServiceClient::new(gate.channel().await);
    for (what, said, code) in [
        ("ours", witness(3, 3), None),
        ("another head", witness(3, 4), Some((Code::DataLoss, &b"audit_fork"[..]))),
        ("no rows", witness(0, 0), Some((Code::InvalidArgument, b"malformed"))),
    ] {
        let request = v1::AckRequest { witness: Some(said), ..v1::AckRequest::default() };
        let refused = soon(records.ack(request)).await.err();
        assert_eq!(refused.as_ref().map(|status| (status.code(), reason(status))), code, "{what}");
    }
    let (asks, mut told) = stream(gate.channel().await).await;
    asks.send(frame(Ask::Witness(witness(5, 5)))).await.expect("sent");
    asks.send(frame(Ask::Witness(witness(6, 5)))).await.expect("sent");
    let end = soon(told.message()).await.expect_err("it ends");
    assert_eq!((end.code(), reason(&end)), (Code::DataLoss, &b"audit_fork"[..]));
    let noted = gate.fake.witnessed();
    assert!(noted.iter().all(|seen| seen.consumer.as_str() == CITY && seen.head == [seen.size as u8; 32]));
    assert_eq!(noted[0].size, 3);
    assert_eq!(gate.counter("share_refused_total{reason=\"audit_fork\"}"), 2);
    assert_eq!(gate.counter("share_witnessed_total"), noted.len() as u64);
}

#[tokio::test]
async fn a_puller_keeps_a_checkpoint_before_it_confirms_it_and_refuses_a_shorter_trail() {
    let gate = Gate::loopback(CITY).await;
    gate.fake.seal(Lane::Bulk, "R", "x");
    gate.checkpoints.send_replace(Some(made(3)));
    let key = signer().public_key().try_into().ok();
    let kept = Arc::<Mutex<Vec<u64>>>::default();
    let pull = async |book: Book| {
        let kept = kept.clone();
        let keep = move |made: &Checkpoint| {
            kept.lock().expect("nobody panics").push(made.head.seq);
            Ok(())
        };
        let settings = Settings { target: gate.target(), ack: true, ..Settings::default() };
        let mut puller = Puller::new(settings, Position::default()).witness(book, keep);
        soon(puller.run(&CancellationToken::new(), each(|_, _, _| Ok(ControlFlow::Continue(()))))).await
    };
    let sizes = || gate.fake.witnessed().iter().map(|seen| seen.size).collect::<Vec<_>>();
    pull(Book::new(key)).await.expect("pulled");
    assert_eq!((&*kept.lock().expect("nobody panics"), sizes()), (&vec![3], vec![3]));

    // What is known already is not kept again, but confirmed again: the last word may have been lost.
    let mut book = Book::new(key);
    book.take(made(3)).expect("taken");
    pull(book.clone()).await.expect("pulled");
    assert_eq!((&*kept.lock().expect("nobody panics"), sizes()), (&vec![3], vec![3, 3]));

    let shorter = pull({
        book.take(made(5)).expect("taken");
        book
    });
    let suspect = shorter.await.expect_err("it was cut");
    assert!(matches!(suspect, PullError::Suspect(Suspect::Shorter { kept: 5, told: 3 })), "{suspect}");
    assert!(!suspect.passes() && suspect.to_string().contains("smallbrain audit verify"), "{suspect}");
    let suspect = pull(Book::new(Some([9; 32]))).await.expect_err("another key");
    assert!(matches!(suspect, PullError::Suspect(Suspect::Signature { size: 3 })), "{suspect}");
    assert_eq!(sizes(), [3, 3], "nothing is confirmed that is not believed");
}

/// Nothing leaves that is not in the trail, and what the trail says has left.
#[tokio::test]
async fn every_batch_has_its_row_and_nothing_has_a_row_of_its_own() {
    let gate = Gate::loopback(CITY).await;
    for number in 0..9_000_u32 {
        gate.fake.seal(Lane::Bulk, if number % 5 == 0 { "P" } else { "R" }, number.to_string());
    }
    gate.fake.seal(Lane::Alarm, "A", "fire");
    gate.fake.lose(Lane::Bulk, 1, 10);
    let mut batches = Vec::new();
    let settings = Settings { target: gate.target(), ack: true, ..Settings::default() };
    let taker = |batch: &v1::RecordBatch, _: Taken, _: &Position| {
        if let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) {
            let lane = wire::lane(batch.lane).expect("a lane");
            batches.push((lane, first.seq, last.seq, batch.records.len() as u64));
        }
        Ok(ControlFlow::Continue(()))
    };
    let mut puller = Puller::new(settings, Position::default());
    soon(puller.run(&CancellationToken::new(), each(taker))).await.expect("pulled");
    let row = |told: &crate::ingest::handout::Delivered| {
        assert_eq!((told.consumer.as_str(), told.lines.len()), (CITY, 1));
        (told.lane, told.from.0, told.to.0, told.lines[0].1)
    };
    let rows: Vec<_> = gate.fake.delivered().iter().map(row).collect();
    assert_eq!(rows, batches);
    assert_eq!(rows.iter().map(|row| row.3).sum::<u64>(), 7_193);

    let mut records = RecordServiceClient::new(gate.channel().await);
    for (seq, more) in [(8_990, 1), (9_000, 0)] {
        let asked = v1::FetchRequest { after: Some(cursor(Lane::Bulk, seq)), ..v1::FetchRequest::default() };
        soon(records.fetch(asked)).await.expect("an answer");
        assert_eq!(gate.fake.delivered().len(), rows.len() + 1, "after {seq}, {more} more");
    }
}

#[tokio::test]
async fn whoever_is_turned_away_has_a_row_and_cannot_fill_the_disk() {
    let gate = Gate::loopback("nobody").await;
    let mut records = RecordServiceClient::new(gate.channel().await);
    for _ in 0..20 {
        soon(records.fetch(v1::FetchRequest::default())).await.expect_err("turned away");
    }
    let denied = soon(async {
        loop {
            let denied = gate.fake.denied();
            if !denied.is_empty() {
                break denied;
            }
            tokio::task::yield_now().await;
        }
    });
    let denied = denied.await;
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0].consumer.as_ref().map(|who| who.as_str()), Some("nobody"));
    assert_eq!(denied[0].reason, "not_listed");
    assert_eq!(gate.counter("share_denials_unwritten_total"), 19);
}
