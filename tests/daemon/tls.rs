//! The city over mutual TLS, from outside: it pulls, and is cut off and turned away once its certificate is revoked.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType, date_time_ymd,
};
use rustix::process::Signal;

use super::device::Device;
use super::gateway::{Gateway, Said, Site, example, smallbrain, until};

const CITY: &str = "spiffe://brain.example/city/310115/brain/yiwangtongguan";

/// The authority of a site's certificates.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    fn new(root: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        fs::write(root, params.self_signed(&key).expect("root").pem()).expect("written");
        Self(Issuer::new(params, key))
    }

    fn leaf(&self, files: [PathBuf; 2], serial: u64, uri: Option<&str>) {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("params");
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().expect("ASCII"))));
        params.serial_number = Some(serial.into());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("key");
        let leaf = params.signed_by(&key, &self.0).expect("signed");
        fs::write(&files[0], leaf.pem()).expect("written");
        fs::write(&files[1], key.serialize_pem()).expect("written");
    }

    fn revoke(&self, list: &Path, serial: u64) {
        let revoked = RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let made = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, 2, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let made = made.signed_by(&self.0).expect("signed");
        fs::write(list, made.pem().expect("PEM")).expect("written");
    }
}

fn pull(site: &Site, gateway: &Gateway) -> Said {
    let path = |name: &str| site.path(name).display().to_string();
    let url = format!("https://localhost:{}", gateway.share.port());
    let files = ["--ca", &path("ca.pem"), "--cert", &path("city.pem"), "--key", &path("city.key")];
    smallbrain(&[&["pull", "--gateway", &url, "--lane", "alarm", "--after", "0"], &files[..]].concat())
}

#[test]
fn a_city_with_a_certificate_pulls_until_it_is_revoked() {
    let plain = "loopback = { listen = \"127.0.0.1:0\", consumer = \"spiffe://brain.example/city/310115/brain/yiwangtongguan\" }";
    let files = "certificate = \"gateway.pem\", key = \"gateway.key\", client_ca = \"ca.pem\", client_crl = \"city.crl\"";
    let text = example();
    assert_eq!(text.matches(plain).count(), 1, "the example's listener");
    let text = text.replace(plain, &format!("tls = {{ listen = \"127.0.0.1:0\", {files} }}"));
    let site = Site::new(&text);
    let authority = Authority::new(&site.path("ca.pem"));
    authority.leaf([site.path("gateway.pem"), site.path("gateway.key")], 1, None);
    authority.leaf([site.path("city.pem"), site.path("city.key")], 2, Some(CITY));
    authority.revoke(&site.path("city.crl"), 666);
    let gateway = site.start();
    Device::of(gateway.mqtt, "one").publish("compound/smoke-1/up", r#"{"alarm":true}"#);
    let pulled = pull(&site, &gateway);
    assert_eq!((pulled.code(), pulled.json().len()), (Some(0), 1), "{pulled:?}");
    assert!(gateway.metric("smallbrain_share_certificate_expires_seconds") > 0);

    authority.revoke(&site.path("city.crl"), 2);
    // A configuration that comes into force has the files looked at.
    site.swap(&text.replace("calls_rate = 50 ", "calls_rate = 51 "));
    gateway.log.wait("certificates were renewed", 1);
    let refused = pull(&site, &gateway);
    assert_ne!(refused.code(), Some(0), "{refused:?}");
    let revoked = "smallbrain_share_tls_refused_total{reason=\"revoked\"}";
    until("a revoked certificate is counted", || (gateway.metric(revoked) >= 1).then_some(()));
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
}
