# syntax=docker/dockerfile:1
# All binaries in one small image; compose starts a different one in each container.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
# Without the feature `demo`: images carry no simulated GitHub.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --no-default-features \
        --package gharvest --package gharvest-webhook-receiver --package gharvest-seeder \
        --package gharvest-downloader --package gharvest-indexer --package gharvest-web --package gharvest-queue-cli \
    && install -d /out \
    && install -t /out target/release/gharvest target/release/webhook-receiver target/release/seeder \
        target/release/downloader target/release/indexer target/release/web target/release/queue-cli

FROM debian:bookworm-slim
# Numeric, so that orchestrators can check that it is not root.
RUN groupadd --gid 10001 gharvest \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin gharvest \
    && install -d -o gharvest -g gharvest /data /keys /keys/metrics
COPY --from=build /out/ /usr/local/bin/
# GitHub is asked by https, and the slim image knows no authority.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 10001:10001
# Memory that a long thread took is given back: by itself glibc keeps ever more of it, once for each thread that it serves.
ENV GHARVEST_DATA_DIR=/data MALLOC_TRIM_THRESHOLD_=131072
VOLUME /data
ENTRYPOINT ["gharvest"]
CMD ["up"]
