//! Search pages, JSON API, live feed.
