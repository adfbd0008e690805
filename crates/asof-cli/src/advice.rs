//! What to do about errors of libraries that do not say it themselves.

/// Of the AWS SDK, when no source of credentials has any.
const NO_CREDENTIALS: &str = "Error getting credentials from provider";

/// Of `datafusion-cli`, when Amazon does not tell where a bucket is.
const NO_REGION: &str = "Failed to resolve region";

/// Advice on an error, if there is some.
pub(crate) fn on(error: &str) -> Option<&'static str> {
    if error.contains(NO_CREDENTIALS) {
        return Some(
            "No credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
             AWS_PROFILE; of a public bucket make a table with OPTIONS ('aws.nosign' 'true')",
        );
    }
    if error.contains(NO_REGION) {
        return Some("The region of the bucket was not found out: set AWS_REGION, or AWS_ENDPOINT");
    }
    // DataFusion takes a URL that it cannot read for the name of a table.
    let (_, named) = error.split_once("table '")?;
    let (name, rest) = named.split_once('\'')?;
    if !rest.trim_start().starts_with("not found") {
        return None;
    }
    if name.contains("s3://") {
        return Some(
            "Nothing at this URL can be read as a table: check it, and AWS_ENDPOINT and AWS_REGION",
        );
    }
    let is_url = name.contains("://");
    is_url.then_some("Nothing at this URL can be read as a table: check it")
}

#[cfg(test)]
mod tests {
    use super::on;

    #[test]
    fn on_what_is_known_only() {
        let credentials = "Object Store error: Generic S3 error: Error getting credentials from provider: \
                           an error occurred while loading credentials";
        assert!(on(credentials).is_some_and(|advice| advice.contains("AWS_ACCESS_KEY_ID")));
        let url =
            "Error during planning: table 'datafusion.public.s3://bucket/x.parquet' not found";
        assert!(on(url).is_some_and(|advice| advice.contains("AWS_ENDPOINT")));
        let other =
            "Error during planning: table 'datafusion.public.https://host/x.parquet' not found";
        assert!(on(other).is_some_and(|advice| !advice.contains("AWS")));
        for other in [
            "Error during planning: table 'datafusion.public.x' not found",
            "table 'x' of s3://bucket is empty, the column 'y' was not found",
            "",
        ] {
            assert_eq!(on(other), None, "{other}");
        }
    }
}
