# Build: docker build -t tidegate .
# Run:   docker run -p 8080:8080 -v "$PWD/tidegate.yaml:/etc/tidegate/tidegate.yaml:ro" tidegate
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked --bin tidegate

FROM debian:bookworm-slim
COPY --from=build /src/target/dist/tidegate /usr/local/bin/tidegate
COPY configs/minimal.yaml /etc/tidegate/tidegate.yaml
USER 65532:65532
EXPOSE 8080 8443
ENTRYPOINT ["/usr/local/bin/tidegate"]
CMD ["run", "/etc/tidegate/tidegate.yaml"]
