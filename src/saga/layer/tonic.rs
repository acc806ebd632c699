//! For tonic handlers: the saga's error as a status.

use ::tonic::{Status, metadata::MetadataMap};
use http::HeaderMap;

use crate::{
    protocol::{grpc, retry_after},
    saga::SagaError,
};

/// With the code that the table says, and `grpc-retry-pushback-ms` where it is worth while to come back:
#[doc = include_str!("../../../docs/saga-answers.md")]
impl From<SagaError> for Status {
    fn from(error: SagaError) -> Self {
        let said = error.said();
        let mut metadata = HeaderMap::new();
        if let Some(wait) = said.again {
            metadata.insert(retry_after::PUSHBACK, grpc::pushback(wait));
        }
        Self::with_metadata((said.code as i32).into(), said.title, MetadataMap::from_headers(metadata))
    }
}
