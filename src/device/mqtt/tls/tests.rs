//! Handshakes in memory, with certificates made here.

use std::time::Duration;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};

use super::*;

/// Who signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

/// What it signed, as PEM.
struct Leaf {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), root }
    }

    fn sign(&self, params: CertificateParams) -> Leaf {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        Leaf { certificate, key: key.serialize_pem() }
    }

    fn server(&self) -> Leaf {
        self.sign(CertificateParams::new(vec!["localhost".into()]).expect("params"))
    }
}

fn client(common: Option<&str>, dns: &[&str], uris: &[&str]) -> CertificateParams {
    let dns: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(dns).expect("params");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "a compound");
    if let Some(common) = common {
        params.distinguished_name.push(DnType::CommonName, common);
    }
    params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII"))));
    params
}

/// A directory with the files of a listener.
fn site(authority: &Authority, client_ca: Option<&str>) -> (TempDir, Files) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let files = Files {
        certificate: path("server.pem"),
        key: path("server.key"),
        client_ca: client_ca.map(|_| path("clients.pem")),
    };
    write(&files, &authority.server(), client_ca);
    (dir, files)
}

fn write(files: &Files, server: &Leaf, client_ca: Option<&str>) {
    std::fs::write(&files.certificate, &server.certificate).expect("written");
    std::fs::write(&files.key, &server.key).expect("written");
    if let Some((path, text)) = files.client_ca.as_ref().zip(client_ca) {
        std::fs::write(path, text).expect("written");
    }
}

/// What the server saw of a client that trusts `root`: the version of TLS and the names, when the handshake came to its
/// end on both sides.
async fn shake(
    tls: &Tls,
    mono_ms: u64,
    root: &str,
    leaf: Option<&Leaf>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<(ProtocolVersion, Vec<String>), String> {
    let mut roots = RootCertStore::empty();
    for root in certificates(root.as_bytes(), Path::new("root")).expect("a root") {
        roots.add(root).expect("a root");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    let config = match leaf {
        Some(leaf) => config
            .with_client_auth_cert(
                certificates(leaf.certificate.as_bytes(), Path::new("leaf")).expect("a chain"),
                PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key"),
            )
            .expect("a pair"),
        None => config.with_no_client_auth(),
    };
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let acceptor = tls.acceptor(mono_ms);
    let server = async {
        let mut stream = acceptor.accept(ours).await?;
        stream.write_all(b"x").await?;
        stream.shutdown().await?;
        let version = stream.get_ref().1.protocol_version().expect("after the handshake");
        io::Result::Ok((version, names(&stream)))
    };
    let client = async {
        let localhost = ServerName::try_from("localhost").expect("a name");
        let mut stream = TlsConnector::from(Arc::new(config)).connect(localhost, theirs).await?;
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await?;
        io::Result::Ok(())
    };
    let both = async { tokio::join!(server, client) };
    let (server, client) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("in time");
    let seen = server.map_err(|error| error.to_string())?;
    client.map(|()| seen).map_err(|error| error.to_string())
}

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

#[tokio::test]
async fn names_of_client_certificates() {
    let authority = Authority::new();
    let (_dir, files) = site(&authority, Some(&authority.root));
    let tls = Tls::load(&files).expect("good files");
    for (common, dns, uris) in [
        (Some("door-1"), &[][..], &[][..]),
        (Some("门-1"), &["door-1.example"][..], &["spiffe://compound/door-1"][..]),
        (None, &["door-1", "door-2"][..], &[][..]),
        (None, &[][..], &["urn:dev:mac:0024befffe804ff1"][..]),
        (None, &[][..], &[][..]),
    ] {
        let leaf = authority.sign(client(common, dns, uris));
        let expected: Vec<String> =
            common.iter().chain(dns).chain(uris).map(|name| (*name).to_owned()).collect();
        for version in BOTH {
            let seen = shake(&tls, 0, &authority.root, Some(&leaf), &[version]).await;
            assert_eq!(seen, Ok((version.version, expected.clone())));
        }
    }
    let (_, none) = shake(&tls, 0, &authority.root, None, BOTH).await.expect("a password may follow");
    assert_eq!(none, [""; 0]);
}

#[tokio::test]
async fn certificates_that_do_not_hold_are_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_dir, files) = site(&authority, Some(&authority.root));
    let tls = Tls::load(&files).expect("good files");
    let dated = |from: i32, to: i32| {
        let mut params = client(Some("door-1"), &[], &[]);
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        authority.sign(params)
    };
    for (leaf, why) in [
        (other.sign(client(Some("door-1"), &[], &[])), "BadSignature"),
        (dated(2001, 2002), "expired"),
        (dated(4000, 4001), "not valid yet"),
        (dated(2001, 4001), ""),
    ] {
        for version in BOTH {
            let seen = shake(&tls, 0, &authority.root, Some(&leaf), &[version]).await;
            match seen {
                Ok((_, names)) => assert_eq!((names, why), (vec!["door-1".to_owned()], "")),
                Err(error) => assert!(!why.is_empty() && error.contains(why), "{error}, not {why:?}"),
            }
        }
    }
    let (_dir, open) = site(&authority, None);
    let open = Tls::load(&open).expect("good files");
    let leaf = other.sign(client(Some("door-1"), &[], &[]));
    let (_, names) = shake(&open, 0, &authority.root, Some(&leaf), BOTH).await.expect("nobody asked for it");
    assert_eq!(names, [""; 0], "what nobody verified says nothing");
}

#[tokio::test]
async fn renewed_files_are_taken_and_wrong_ones_are_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let (_dir, files) = site(&old, Some(&old.root));
    let tls = Tls::load(&files).expect("good files");
    let by = |authority: &Authority| authority.sign(client(Some("door-1"), &[], &[]));
    let (old_leaf, new_leaf) = (by(&old), by(&new));

    write(&files, &new.server(), Some(&new.root));
    let early = shake(&tls, LOOK_MS - 1, &old.root, Some(&old_leaf), BOTH).await;
    assert!(early.is_ok(), "looked for at most once a second: {early:?}");
    assert!(shake(&tls, LOOK_MS, &new.root, Some(&new_leaf), BOTH).await.is_ok());
    assert!(
        shake(&tls, LOOK_MS, &new.root, Some(&old_leaf), BOTH).await.is_err(),
        "nor who the old one signed"
    );

    std::fs::write(&files.key, old.server().key).expect("written");
    assert!(
        shake(&tls, 2 * LOOK_MS, &new.root, Some(&new_leaf), BOTH).await.is_ok(),
        "the pair before stays"
    );
}

#[test]
fn what_is_wrong_with_files_is_told_once() {
    let authority = Authority::new();
    let (_dir, files) = site(&authority, Some(&authority.root));
    let tls = Tls::load(&files).expect("good files");
    let mut held = tls.held.lock().expect("nobody panicked");
    let mut mono_ms = 0;
    let mut look = || {
        mono_ms += LOOK_MS;
        held.look(&files, mono_ms).map(|news| news.map_err(|error| error.to_string()))
    };
    assert_eq!(look(), None);
    std::fs::write(&files.key, "no key").expect("written");
    let told = look().expect("news").expect_err("a bad key");
    assert!(told.contains("server.key: no private key in PEM form"), "{told}");
    assert_eq!(look(), None, "said");
    std::fs::remove_file(&files.certificate).expect("removed");
    let told = look().expect("news").expect_err("another fault");
    assert!(told.contains("server.pem: "), "{told}");
    write(&files, &authority.server(), None);
    assert_eq!(look(), Some(Ok(())));
    assert_eq!(look(), None);
}

#[test]
fn files_that_cannot_serve_are_refused() {
    let authority = Authority::new();
    let leaf = authority.server();
    for (certificate, key, client_ca, why) in [
        (leaf.certificate.as_str(), leaf.key.as_str(), Some(authority.root.as_str()), ""),
        (&leaf.certificate, &leaf.key, None, ""),
        ("", &leaf.key, None, "server.pem: no certificate in PEM form"),
        (&leaf.key, &leaf.key, None, "server.pem: no certificate in PEM form"),
        (&leaf.certificate, &leaf.certificate, None, "server.key: no private key in PEM form"),
        (&leaf.certificate, &authority.server().key, None, "server.pem with key"),
        (&leaf.certificate, &leaf.key, Some("nothing"), "clients.pem: no certificate in PEM form"),
        (
            &leaf.certificate,
            &leaf.key,
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "clients.pem: ",
        ),
    ] {
        let (_dir, files) = site(&authority, client_ca);
        write(&files, &Leaf { certificate: certificate.into(), key: key.into() }, client_ca);
        match Tls::load(&files) {
            Ok(_) => assert_eq!(why, ""),
            Err(error) => {
                let told = error.to_string();
                assert!(!why.is_empty() && told.contains(why), "{told}, not {why:?}");
            }
        }
    }
}

#[test]
fn common_names_are_read_from_any_subject() {
    let pair = |identifier: u8, tag: u8, text: &[u8]| {
        let inner = [&[6, 3, 0x55, 4, identifier, tag, text.len() as u8], text].concat();
        let inner = [&[0x30, inner.len() as u8][..], &inner].concat();
        [&[0x31, inner.len() as u8][..], &inner].concat()
    };
    let long = [&[0x31, 0x82, 0, 17, 0x30, 0x81, 14, 6, 3, 0x55, 4, 3, 12, 0x81, 6][..], b"door-1"].concat();
    for (subject, names) in [
        (vec![], &[][..]),
        (pair(3, 12, "门-1".as_bytes()), &["门-1"]),
        (
            [pair(10, 19, b"a compound"), pair(3, 19, b"door-1"), pair(3, 22, b"door-2")].concat(),
            &["door-1", "door-2"],
        ),
        (pair(3, 30, b"\0d\0o"), &[]),
        (pair(3, 12, b"\xff"), &[]),
        (long, &["door-1"]),
        (vec![0x31, 0x80, 0, 0], &[]),
        (vec![0x31, 0x84, 0, 0, 0, 1, 0], &[]),
    ] {
        assert_eq!(common_names(&subject).collect::<Vec<_>>(), names, "{subject:x?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_subject_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(common_names(&bytes).all(|name| name.len() <= bytes.len()));
    }
}
