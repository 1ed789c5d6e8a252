//! Who may write and read: credentials of each sort, an own CA, and what is said when they are wrong.

use std::sync::Arc;

use gharvest_search::{Applied, Error, ErrorKind, SearchIndex, sample};
use gharvest_search_elastic::{ElasticIndex, Options};
use gharvest_testkit::{
    SearchServer,
    search::{PASSWORD, USER},
    search_server,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

use crate::options;

fn basic(url: &str, password: &str) -> Options {
    Options { username: USER.into(), password: password.to_owned().into(), ..options(url) }
}

/// An API key with these privileges on the indices of a prefix.
async fn api_key(url: &str, prefix: &str, privileges: &[&str]) -> String {
    let role =
        json!({"cluster": ["monitor"], "indices": [{"names": [format!("{prefix}-*")], "privileges": privileges}]});
    let asked = json!({"name": prefix, "role_descriptors": {"role": role}});
    let made = reqwest::Client::new().post(format!("{url}/_security/api_key"));
    let made: Value = made.basic_auth(USER, Some(PASSWORD)).json(&asked).send().await.unwrap().json().await.unwrap();
    made["encoded"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

/// Writes a thread and reads it back.
async fn use_it(options: &Options) -> Result<(), Error> {
    let index: Arc<dyn SearchIndex> = ElasticIndex::open(options).await?;
    index.ensure("archive").await?;
    let thread = sample::thread(sample::item(1), Vec::new(), Vec::new(), 1);
    assert_eq!(index.apply(vec![thread]).await?, [Applied::Written]);
    index.commit().await?;
    assert!(index.thread(sample::item(1).id()).await?.is_some());
    Ok(())
}

/// The sentence of a refusal.
async fn refused(options: &Options) -> String {
    let error = use_it(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    error.to_string()
}

#[tokio::test]
async fn passwords_and_api_keys_are_taken_and_wrong_ones_are_refused_with_a_sentence() {
    let name = "passwords_and_api_keys_are_taken_and_wrong_ones_are_refused_with_a_sentence";
    let Some(server) = SearchServer::start_secure(name) else { return };
    let url = server.url();
    for wrong in
        [options(url), basic(url, "wrong"), Options { api_key: "d3Jvbmc6a2V5".to_owned().into(), ..options(url) }]
    {
        let said = refused(&wrong).await;
        assert!(said.contains("does not know these credentials") && said.contains("[search] username"), "{said}");
    }
    use_it(&basic(url, PASSWORD)).await.unwrap();

    let mut keyed = options(url);
    keyed.api_key = api_key(url, &keyed.prefix, &["manage", "read", "write"]).await.into();
    use_it(&keyed).await.unwrap();
    // A key goes before a password.
    use_it(&Options { username: USER.into(), password: "wrong".to_owned().into(), ..keyed.clone() }).await.unwrap();

    // The same key on other indices; and one that may only read those that are there.
    let said = refused(&Options { prefix: "other".into(), ..keyed.clone() }).await;
    assert!(said.contains("may not do that") && said.contains("[search] index_prefix"), "{said}");
    let reading = api_key(url, &keyed.prefix, &["read", "view_index_metadata"]).await;
    let said = refused(&Options { api_key: reading.into(), ..keyed.clone() }).await;
    // It may write nowhere, so the engine refuses the whole request, not one document of it.
    assert!(said.contains("may not do that") && said.contains("indices:data/write"), "{said}");
}

/// A proxy that speaks TLS with a certificate of its own CA, in front of a server. Its port, and the CA in PEM.
async fn tls_proxy(server: &str) -> (u16, Vec<u8>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, private).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = server.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate hangs up here.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(behind).await.unwrap();
                drop(copy_bidirectional(&mut stream, &mut server).await);
            });
        }
    });
    (port, ca.pem().into_bytes())
}

#[tokio::test]
async fn an_own_ca_is_trusted_for_the_name_it_signed_and_nothing_else_is() {
    let Some(url) = search_server("an_own_ca_is_trusted_for_the_name_it_signed_and_nothing_else_is") else { return };
    let (port, ca) = tls_proxy(&url).await;
    let by_name = format!("https://localhost:{port}");
    use_it(&Options { ca: Some(ca.clone()), ..options(&by_name) }).await.unwrap();
    let (_, other) = tls_proxy(&url).await;
    for wrong in [
        options(&by_name),
        Options { ca: Some(other), ..options(&by_name) },
        Options { ca: Some(ca), ..options(&format!("https://127.0.0.1:{port}")) },
    ] {
        let error = use_it(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("certificate") && error.to_string().contains("ca_file"), "{error}");
    }
    let error = use_it(&Options { ca: Some(b"no PEM".to_vec()), ..options(&by_name) }).await.unwrap_err();
    assert!(error.to_string().contains("ca_file"), "{error}");
}

#[tokio::test]
async fn of_several_addresses_those_that_are_down_are_passed_over() {
    let Some(url) = search_server("of_several_addresses_those_that_are_down_are_passed_over") else { return };
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    use_it(&options(&format!("http://{down},{url},http://{down}/"))).await.unwrap();
    let error = use_it(&options(&format!("http://{down},http://{down}"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
