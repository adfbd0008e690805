//! Our nodes over Ballista's own.

use std::sync::Arc;

use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion_asof::{AsOfLogicalCodec, AsOfPhysicalCodec};
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;
#[cfg(feature = "server")]
use tonic::transport::Endpoint;

#[cfg(feature = "server")]
use crate::stopping::StoppingCodec;

/// What logical plans travel by.
pub fn logical_codec() -> Arc<dyn LogicalExtensionCodec> {
    let ballista = Arc::new(BallistaLogicalExtensionCodec::default());
    Arc::new(AsOfLogicalCodec::over(ballista))
}

/// What physical plans travel by.
pub fn physical_codec() -> Arc<dyn PhysicalExtensionCodec> {
    let ballista = Arc::new(BallistaPhysicalExtensionCodec::default());
    Arc::new(AsOfPhysicalCodec::over(ballista))
}

/// What an executor gets physical plans by from the scheduler at an address.
#[cfg(feature = "server")]
pub(crate) fn codec_of_executor(scheduler: Endpoint) -> Arc<dyn PhysicalExtensionCodec> {
    let ballista = Arc::new(StoppingCodec::new(scheduler));
    Arc::new(AsOfPhysicalCodec::over(ballista))
}
