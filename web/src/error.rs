//! One error for pages and API: what to answer, and what to say. Details of failures go to the log, never out.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::state::OperationError;

/// Why a request is not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What happened and what to do, for people.
    pub detail: String,
}

/// The result of a request.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error with a status and a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// 404.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} is not in this mirror"))
    }

    /// 400.
    pub fn invalid(detail: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail.to_string())
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 500 or 503; the cause is logged here, once.
    fn backend(error: &(dyn std::error::Error + 'static), retryable: bool) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        let chain = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        tracing::error!(error = %chain, "a request failed");
        if retryable {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "a part of the system does not answer: try again in a moment")
        } else {
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, "something failed; the log says what")
        }
    }

    /// Problem details as JSON.
    pub fn problem(&self) -> Problem {
        Problem {
            r#type: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
        }
    }
}

/// Problem details of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do, for people.
    pub detail: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        // Pages are given another body for it: see `pages::dress_errors`.
        response.extensions_mut().insert(self);
        response
    }
}

/// Browsers ask for a name (anything) and a password (the key); tools send `Authorization: Bearer KEY`.
pub(crate) const CHALLENGE: HeaderValue =
    HeaderValue::from_static(r#"Basic realm="gharvest: any name, an API key as the password""#);

impl From<gharvest_archive::Error> for ApiError {
    fn from(error: gharvest_archive::Error) -> Self {
        Self::backend(&error, error.is_retryable())
    }
}

impl From<gharvest_queue::Error> for ApiError {
    fn from(error: gharvest_queue::Error) -> Self {
        match error.kind() {
            gharvest_queue::ErrorKind::Refused => Self::invalid(&error),
            _ => Self::backend(&error, error.is_retryable()),
        }
    }
}

impl From<gharvest_state::Error> for ApiError {
    fn from(error: gharvest_state::Error) -> Self {
        Self::backend(&error, true)
    }
}

impl From<gharvest_search::Error> for ApiError {
    fn from(error: gharvest_search::Error) -> Self {
        match error.kind() {
            gharvest_search::ErrorKind::TimedOut => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "the search took too long: make it narrower")
            }
            gharvest_search::ErrorKind::Refused => {
                tracing::error!(%error, "the search index cannot be used");
                let detail = "there is no search index to use yet: the log and `gharvest doctor` say why";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            }
            gharvest_search::ErrorKind::Invalid => Self::invalid(&error),
            _ => Self::backend(&error, error.is_retryable()),
        }
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        let status = match &error {
            OperationError::NotFound(_) => StatusCode::NOT_FOUND,
            OperationError::Refused(_) => StatusCode::CONFLICT,
            OperationError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<gharvest_model::InvalidName> for ApiError {
    fn from(error: gharvest_model::InvalidName) -> Self {
        Self::invalid(error)
    }
}
