//! Tests of holding files back.

use datafusion::object_store::ObjectStoreExt;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::object_store::memory::InMemory;

use super::*;

/// A memory store, the same store holding back, and what it holds.
fn stores() -> (Arc<InMemory>, HoldingStore, Held) {
    let inner = Arc::new(InMemory::new());
    let held = Held::default();
    let holding = HoldingStore {
        inner: Arc::clone(&inner) as Arc<dyn ObjectStore>,
        held: held.clone(),
    };
    (inner, holding, held)
}

async fn write_both_ways(store: &HoldingStore) {
    store.put(&Path::from("small"), "a".into()).await.unwrap();
    let mut upload = store.put_multipart(&Path::from("large")).await.unwrap();
    upload.put_part("b".into()).await.unwrap();
    upload.complete().await.unwrap();
}

#[tokio::test]
async fn files_appear_when_published() {
    let (inner, holding, held) = stores();
    write_both_ways(&holding).await;
    for path in ["small", "large"] {
        assert!(inner.head(&Path::from(path)).await.is_err(), "{path}");
    }
    held.publish().await.unwrap();
    for path in ["small", "large"] {
        assert!(inner.head(&Path::from(path)).await.is_ok(), "{path}");
    }
}

#[tokio::test]
async fn discarded_files_never_appear() {
    let (inner, holding, held) = stores();
    write_both_ways(&holding).await;
    held.discard();
    held.publish().await.unwrap();
    for path in ["small", "large"] {
        assert!(inner.head(&Path::from(path)).await.is_err(), "{path}");
    }
}

#[tokio::test]
async fn a_finished_upload_takes_no_more() {
    let (_inner, holding, _held) = stores();
    let mut upload = holding.put_multipart(&Path::from("large")).await.unwrap();
    upload.complete().await.unwrap();
    assert!(upload.put_part("b".into()).await.is_err());
    assert!(upload.complete().await.is_err());
    assert!(upload.abort().await.is_err());
}

#[tokio::test]
async fn a_store_that_is_full_is_noticed_before_anything_appears() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("blocked"),
        "a file, where a folder should be",
    )
    .unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let holding = HoldingStore {
        inner: Arc::new(local),
        held: Held::default(),
    };
    holding.put(&Path::from("first"), "a".into()).await.unwrap();
    let second = Path::from("blocked/second");
    assert!(holding.put(&second, "b".into()).await.is_err());
    assert!(!folder.path().join("first").exists());
}
