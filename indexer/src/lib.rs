//! Index job to archive to search engine to live event.
