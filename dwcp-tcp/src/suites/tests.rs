//! Both backends against the standard's vectors, each other, and tampering.

use dwcp_core::crypto::{KeyMaterial, NotAuthentic, Protection};

use super::*;

const BACKENDS: [Backend; 2] = [Backend::AwsLc, Backend::RustCrypto];

fn all() -> Vec<Arc<dyn Suite>> {
    let mut suites = vec![hmac_sha256()];
    for backend in BACKENDS {
        suites.extend([aes_256_gcm(backend, false), aes_256_gcm(backend, true)]);
    }
    suites
}

fn keys() -> KeyMaterial {
    KeyMaterial { key: [7; 32], iv: [0; 12], mac_key: [9; 32] }
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn seal(
    suite: &dyn Suite,
    nonce: &[u8; 12],
    header: &[u8],
    body: &[u8],
    trailer: &[u8],
) -> Vec<u8> {
    let mut out = vec![0xee; body.len() + trailer.len() + suite.overhead_bytes()];
    suite.sealer(&keys()).seal(nonce, header, body, trailer, &mut out);
    out
}

fn open(
    suite: &dyn Suite,
    nonce: &[u8; 12],
    header: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, NotAuthentic> {
    let mut out = vec![0; sealed.len().saturating_sub(suite.overhead_bytes())];
    suite.opener(&keys()).open(nonce, header, sealed, &mut out)?;
    Ok(out)
}

/// Test cases 13 to 16 of "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega, appendix B.
const VECTORS: [[&str; 6]; 4] = [
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "",
        "",
        "530f8afbc74536b9a963b4f1c4cb738b",
    ],
    [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000",
        "",
        "00000000000000000000000000000000",
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ],
    [
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
        "b094dac5d93471bdec1a502270e3cc6c",
    ],
    [
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ],
];

#[test]
fn both_backends_give_the_standards_vectors_however_the_input_is_split() {
    for vector in VECTORS {
        let [key, nonce, aad, plain, ciphertext, tag] = vector.map(hex);
        let keys = KeyMaterial { key: key.try_into().unwrap(), ..keys() };
        let nonce = nonce.try_into().unwrap();
        let expected = [ciphertext, tag].concat();
        for backend in BACKENDS {
            let suite = aes_256_gcm(backend, false);
            for split in 0..=plain.len() {
                let mut out = vec![0; expected.len()];
                let (body, trailer) = plain.split_at(split);
                suite.sealer(&keys).seal(&nonce, &aad, body, trailer, &mut out);
                assert_eq!(out, expected, "{} split at {split}", suite.name());
            }
            let mut out = vec![0; plain.len()];
            assert_eq!(suite.opener(&keys).open(&nonce, &aad, &expected, &mut out), Ok(()));
            assert_eq!(out, plain);
        }
    }
}

#[test]
fn hmac_gives_the_vector_of_rfc_4231() {
    // Test case 2: the key "Jefe" padded with zeros is the same HMAC key.
    let mut key = [0; 32];
    key[..4].copy_from_slice(b"Jefe");
    let mac = mac::RecordMac::new(&key).sign(&[b"what do ya want ", b"for ", b"nothing?"]);
    let expected = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_eq!(mac[..], expected[..]);
}

#[test]
fn what_one_backend_seals_the_other_opens() {
    let header = bytes(16);
    for hmac in [false, true] {
        for (body, trailer) in [(0, 0), (0, 3), (1, 0), (15, 2), (16, 16), (1000, 70), (65_536, 40)]
        {
            let (body, trailer) = (bytes(body), bytes(trailer));
            let [left, right] = BACKENDS.map(|backend| aes_256_gcm(backend, hmac));
            let sealed = seal(&*left, &[3; 12], &header, &body, &trailer);
            assert_eq!(sealed, seal(&*right, &[3; 12], &header, &body, &trailer));
            let plain = [body, trailer].concat();
            assert_eq!(open(&*right, &[3; 12], &header, &sealed).as_ref(), Ok(&plain));
            assert_eq!(open(&*left, &[3; 12], &header, &sealed), Ok(plain));
        }
    }
}

#[test]
fn a_change_of_any_byte_is_found() {
    let (header, body, trailer) = (bytes(16), bytes(90), bytes(20));
    for suite in all() {
        let nonce = [5; 12];
        let sealed = seal(&*suite, &nonce, &header, &body, &trailer);
        assert!(open(&*suite, &nonce, &header, &sealed).is_ok());
        // Ciphertext, tag and MAC.
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 0x40;
            let name = suite.name();
            assert_eq!(open(&*suite, &nonce, &header, &bad), Err(NotAuthentic), "{name} {at}");
        }
        for at in 0..header.len() {
            let mut bad = header.clone();
            bad[at] ^= 1;
            assert_eq!(open(&*suite, &nonce, &bad, &sealed), Err(NotAuthentic));
        }
        for at in 0..12 {
            let mut bad = nonce;
            bad[at] ^= 0x80;
            assert_eq!(open(&*suite, &bad, &header, &sealed), Err(NotAuthentic));
        }
    }
}

#[test]
fn another_key_of_either_kind_opens_nothing() {
    for suite in all() {
        let sealed = seal(&*suite, &[1; 12], &[0; 16], b"body", b"trailer");
        let others =
            [KeyMaterial { key: [8; 32], ..keys() }, KeyMaterial { mac_key: [8; 32], ..keys() }];
        let refused = others
            .iter()
            .filter(|keys| {
                let mut out = vec![0; 11];
                suite.opener(keys).open(&[1; 12], &[0; 16], &sealed, &mut out).is_err()
            })
            .count();
        let name = suite.name();
        let uses_both = name.contains("gcm") && name.contains("hmac");
        assert_eq!(refused, if uses_both { 2 } else { 1 }, "{name}");
    }
}

#[test]
fn records_shorter_than_the_overhead_are_refused_without_a_panic() {
    for suite in all() {
        for count in 0..suite.overhead_bytes() {
            assert_eq!(open(&*suite, &[0; 12], &[0; 16], &bytes(count)), Err(NotAuthentic));
        }
    }
}

#[test]
fn suites_say_what_they_are() {
    let said: Vec<_> = all()
        .iter()
        .map(|suite| (suite.name(), suite.overhead_bytes(), suite.protection()))
        .collect();
    let expected = [
        ("hmac-sha256", 32, Protection::MacOnly),
        ("aes-256-gcm (aws-lc)", 16, Protection::Aead),
        ("aes-256-gcm+hmac-sha256 (aws-lc)", 48, Protection::Aead),
        ("aes-256-gcm (rust-crypto)", 16, Protection::Aead),
        ("aes-256-gcm+hmac-sha256 (rust-crypto)", 48, Protection::Aead),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_tag_without_the_body_is_the_one_behind_it() {
    for suite in all() {
        let mut seal = suite.sealer(&keys());
        let (header, body, trailer) = ([5; 16], bytes(5_000), bytes(70));
        let mut sealed = vec![0; body.len() + trailer.len() + suite.overhead_bytes()];
        seal.seal(&[6; 12], &header, &body, &trailer, &mut sealed);
        let mut tag = vec![0; suite.overhead_bytes()];
        let is_left = seal.tag(&[6; 12], &header, &body, &trailer, &mut tag);
        assert_eq!(is_left, suite.protection() < Protection::Aead, "{}", suite.name());
        if is_left {
            assert_eq!(sealed, [body, trailer, tag].concat(), "{}", suite.name());
        }
    }
}
