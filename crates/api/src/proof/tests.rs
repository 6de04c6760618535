//! Proofs that are good and those that are not, what is asked for as more join, and what is remembered.

use axum::http::HeaderValue;

use super::*;

const START: Timestamp = Timestamp(1_795_000_000 * SECOND_US);
const NOW: Timestamp = Timestamp(START.0 + 5 * SECOND_US);
const ASKER: Asker = Asker {
    account: AccountId([1; 16]),
    performance: PerformanceId([2; 16]),
    epoch: 3,
};

fn proofs(bits_min: u32, bits_max: u32) -> Proofs {
    signed_by([7; 32], bits_min, bits_max)
}

fn signed_by(key: [u8; 32], bits_min: u32, bits_max: u32) -> Proofs {
    let http = HttpConfig {
        public_url: String::new(),
        allowed_origins: Vec::new(),
        connections_max: 16,
        streams_max: 1,
        trusted: Vec::new(),
        per_address_per_s: 1,
        per_account_per_s: 1,
        proof_bits_min: bits_min,
        proof_bits_max: bits_max,
    };
    Proofs::new(&key, &http, START)
}

/// The first text for this challenge whose hash begins with so many zero bits and no more, or with at least so many.
fn work(challenge: &str, good: impl Fn(u32) -> bool) -> String {
    (0_u32..1 << 24)
        .map(|nonce| format!("{challenge}:{nonce}"))
        .find(|text| good(zero_bits(&Sha256::digest(text))))
        .unwrap()
}

fn solved(proofs: &Proofs, asker: Asker, bits: u32, now: Timestamp) -> String {
    work(&proofs.challenge(asker, bits, now), |zeros| zeros >= bits)
}

fn check(proofs: &Proofs, text: &str, asker: Asker, now: Timestamp) -> Result<(), Fault> {
    proofs.check(Some(text), asker, now).map(drop)
}

#[test]
fn a_proof_is_good_for_whom_and_where_it_was_asked() {
    let proofs = proofs(8, 20);
    let text = solved(&proofs, ASKER, 8, NOW);
    let other_account = Asker {
        account: AccountId([9; 16]),
        ..ASKER
    };
    let other_performance = Asker {
        performance: PerformanceId([9; 16]),
        ..ASKER
    };
    let other_epoch = Asker { epoch: 4, ..ASKER };
    let later_s = |seconds| NOW.plus_s(seconds);
    let last = Timestamp(later_s(TTL_S).0 - 1);
    for (asker, now, expected) in [
        (other_account, NOW, Err(Fault::NotOurs)),
        (other_performance, NOW, Err(Fault::NotOurs)),
        (other_epoch, NOW, Err(Fault::NotOurs)),
        (ASKER, later_s(TTL_S), Err(Fault::Expired)),
        (ASKER, later_s(3_600), Err(Fault::Expired)),
        (ASKER, last, Ok(())),
        (ASKER, last, Err(Fault::Spent)),
    ] {
        assert_eq!(check(&proofs, &text, asker, now), expected, "{asker:?}");
    }
}

#[test]
fn only_work_of_this_challenge_counts() {
    let proofs = proofs(8, 20);
    let challenge = proofs.challenge(ASKER, 8, NOW);
    let good = work(&challenge, |zeros| zeros >= 8);
    let nonce = good.split_once(':').unwrap().1;
    // What another server signed, and what a client would like to be asked for.
    let forged = solved(&signed_by([8; 32], 8, 20), ASKER, 8, NOW);
    let mut bytes = URL_SAFE_NO_PAD.decode(&challenge).unwrap();
    bytes[8] = 0;
    let easier = URL_SAFE_NO_PAD.encode(&bytes);
    bytes[8] = 8;
    bytes[3] ^= 1;
    let younger = URL_SAFE_NO_PAD.encode(&bytes);
    for (text, fault) in [
        (work(&challenge, |zeros| zeros == 7), Fault::TooLittle),
        (work(&challenge, |zeros| zeros == 0), Fault::TooLittle),
        (format!("{challenge}:"), Fault::TooLittle),
        (format!("{challenge}:{nonce}:"), Fault::TooLittle),
        (challenge.clone(), Fault::NotOurs),
        (format!("{challenge}={nonce}"), Fault::NotOurs),
        (format!("{}:{nonce}", &challenge[1..]), Fault::NotOurs),
        (format!("{challenge}A:{nonce}"), Fault::NotOurs),
        (format!("{challenge}==:{nonce}"), Fault::NotOurs),
        (format!("{easier}:0"), Fault::NotOurs),
        (work(&younger, |zeros| zeros >= 8), Fault::NotOurs),
        (forged, Fault::NotOurs),
        (format!(":{nonce}"), Fault::NotOurs),
        (String::new(), Fault::NotOurs),
        (":".to_owned(), Fault::NotOurs),
        ("A".repeat(5_000) + ":1", Fault::NotOurs),
    ] {
        assert_eq!(check(&proofs, &text, ASKER, NOW), Err(fault), "{text}");
    }
    assert_eq!(proofs.check(None, ASKER, NOW), Err(Fault::Missing));
    assert_eq!(check(&proofs, &good, ASKER, NOW), Ok(()));
    // Another nonce for the same challenge is no other proof.
    let another = work(&challenge, |zeros| zeros > 8);
    assert_ne!(another, good);
    assert_eq!(check(&proofs, &another, ASKER, NOW), Err(Fault::Spent));
}

#[test]
fn bits_are_those_that_the_challenge_asked_for() {
    let proofs = proofs(4, 20);
    for bits in [1, 8, 11] {
        let challenge = proofs.challenge(ASKER, bits, NOW);
        let almost = work(&challenge, |zeros| zeros == bits - 1);
        let good = work(&challenge, |zeros| zeros == bits);
        let got = [almost, good].map(|text| check(&proofs, &text, ASKER, NOW));
        assert_eq!(got, [Err(Fault::TooLittle), Ok(())], "{bits} bits");
    }
}

#[test]
fn zero_bits_are_counted_over_bytes() {
    for (hash, bits) in [
        (&[0x80, 0][..], 0),
        (&[0x7f, 0], 1),
        (&[0x01, 0], 7),
        (&[0, 0xff], 8),
        (&[0, 0x10], 11),
        (&[0, 0, 1], 23),
        (&[0, 0], 16),
    ] {
        assert_eq!(zero_bits(hash), bits, "{hash:?}");
    }
}

#[test]
fn without_a_proof_there_is_a_challenge_that_can_be_met() {
    let proofs = proofs(9, 20);
    let problem = proofs.take(None, ASKER, NOW).unwrap_err();
    assert_eq!(
        (problem.status.as_u16(), problem.code),
        (403, "proof-required")
    );
    let challenge = problem.member("challenge").as_str().unwrap().to_owned();
    assert_eq!(problem.member("bits"), 9);
    assert_eq!(problem.member("algorithm"), "sha-256");
    let text = work(&challenge, |zeros| zeros >= 9);
    assert!(text.len() <= TEXT_MAX - 32);
    let receipt = proofs.take(Some(&text), ASKER, NOW).unwrap().unwrap();
    assert!(proofs.take(Some(&text), ASKER, NOW).is_err());
    // The join failed on our side: the same request may be repeated, and once only.
    proofs.give_back(receipt);
    assert!(proofs.take(Some(&text), ASKER, NOW).is_ok());
    assert!(proofs.take(Some(&text), ASKER, NOW).is_err());
}

#[test]
fn a_proof_from_before_the_start_is_refused() {
    let before = solved(&proofs(4, 20), ASKER, 4, Timestamp(START.0 - 1));
    let after = solved(&proofs(4, 20), ASKER, 4, Timestamp(START.0 + 1));
    let restarted = proofs(4, 20);
    assert_eq!(check(&restarted, &before, ASKER, NOW), Err(Fault::Expired));
    assert_eq!(check(&restarted, &after, ASKER, NOW), Ok(()));
}

/// So many paid joins, evenly over each of these seconds; the bits asked for at the end.
fn crowd(proofs: &Proofs, from_s: u32, seconds: u32, per_s: u32) -> u32 {
    for second in from_s..from_s + seconds {
        for join in 0..per_s {
            let now = NOW
                .plus_s(second)
                .plus_ms(u64::from(join) * 1_000 / u64::from(per_s));
            proofs.seen.lock().pace.count(now);
        }
    }
    proofs.bits(NOW.plus_s(from_s + seconds))
}

#[test]
fn more_is_asked_for_as_more_join_and_less_again() {
    for (per_s, bits) in [
        (1, 12),
        (45, 12),
        (120, 13),
        (480, 15),
        (5_000, 18),
        (60_000, 20),
    ] {
        let proofs = proofs(12, 20);
        assert_eq!(proofs.bits(NOW), 12);
        assert_eq!(crowd(&proofs, 0, 15, per_s), bits, "{per_s} joins a second");
        assert_eq!(
            crowd(&proofs, 75, 1, 1),
            12,
            "a minute after {per_s} a second"
        );
    }
    let proofs = proofs(12, 20);
    assert!(
        crowd(&proofs, 0, 1, 5_000) >= 16,
        "the first second is seen"
    );
}

#[test]
fn who_does_no_work_makes_it_no_dearer() {
    let proofs = proofs(4, 20);
    let stale = solved(&proofs, ASKER, 4, NOW);
    assert!(proofs.take(Some(&stale), ASKER, NOW).is_ok());
    for _ in 0..20_000 {
        assert!(proofs.take(None, ASKER, NOW).is_err());
        assert!(proofs.take(Some(&stale), ASKER, NOW).is_err());
    }
    assert_eq!(proofs.bits(NOW), 4);
    assert_eq!(
        proofs.seen.lock().spent.young.len(),
        1,
        "nothing is kept of them"
    );
}

#[test]
fn zero_bits_ask_for_nothing_until_many_come() {
    let off = proofs(0, 0);
    let quiet = proofs(0, 20);
    for _ in 0..4_000 {
        assert_eq!(off.take(None, ASKER, NOW).ok(), Some(None));
    }
    let free = (0..4_000)
        .take_while(|_| quiet.take(None, ASKER, NOW).is_ok())
        .count();
    assert!((300..=500).contains(&free), "{free} came without work");
}

fn seconds(seconds: u32) -> Timestamp {
    START.plus_s(seconds)
}

#[test]
fn what_is_spent_is_known_for_as_long_as_it_could_be_good() {
    let mut spent = Spent::new(1_000, START);
    let (mut at_s, mut name) = (1, 0);
    // Whatever the turns of the generations fall on.
    while at_s < 1_000 {
        name += 1;
        assert_eq!(spent.spend(name, seconds(at_s), seconds(at_s)), Ok(()));
        for later_s in [0, 1, 59, 60, 61, 118, 119] {
            let mut then = Spent {
                young: spent.young.clone(),
                old: spent.old.clone(),
                ..spent
            };
            // Somebody else's, which may turn the generations first.
            let _ = then.spend(
                u64::MAX,
                seconds(at_s + later_s / 2),
                seconds(at_s + later_s / 2),
            );
            let again = then.spend(name, seconds(at_s), seconds(at_s + later_s));
            assert_eq!(
                again,
                Err(Fault::Spent),
                "at {at_s} s and {later_s} s later"
            );
        }
        at_s += 7;
    }
    assert!(
        spent.young.len() + spent.old.len() < 40,
        "old ones are forgotten"
    );
}

#[test]
fn however_many_come_memory_is_bounded_and_nothing_is_good_twice() {
    let mut spent = Spent::new(1_000, START);
    let given_at = |name: u64| Timestamp(NOW.0 + i64::try_from(name).unwrap());
    for name in 0..50_000 {
        assert_eq!(
            spent.spend(name, given_at(name), given_at(name + 1)),
            Ok(())
        );
        assert!(spent.young.len() + spent.old.len() <= 2_000);
    }
    // All of them are within their two minutes, most were forgotten, and none is taken.
    for name in 0..50_000 {
        assert!(
            spent.spend(name, given_at(name), given_at(50_001)).is_err(),
            "{name}"
        );
    }
}

#[test]
fn the_header_is_read_strictly() {
    let long = "a".repeat(TEXT_MAX + 1);
    for (values, expected) in [
        (&["a:1"][..], Some("a:1")),
        (&[&long[1..]], Some(&long[1..])),
        (&[], None),
        (&["a:1", "a:1"], None),
        (&[&long], None),
        (&["a:\u{e9}"], None),
    ] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                "boxoffice-proof",
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        assert_eq!(header(&headers), expected, "{values:?}");
    }
}
