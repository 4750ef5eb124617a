# Written by `sagactl generate` from tools/ctl/templates/Dockerfile and the table of services.
#
# One recipe for every image. Each service is a final stage of its own: docker build --target order .
# Needs BuildKit: Docker 23 or newer, or DOCKER_BUILDKIT=1. Each program is linked as a whole, one for each core at once.
# Where the memory does not suffice and the build is killed: docker compose build --build-arg CARGO_BUILD_JOBS=1

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV SQLX_OFFLINE=true
ARG CARGO_BUILD_JOBS=default
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bins \
    && mkdir /out \
    && cd target/release \
    && cp order payment inventory notification analytics payment-provider sagactl /out/

FROM debian:bookworm-slim AS base
RUN useradd --system --shell /usr/sbin/nologin saga
WORKDIR /
USER saga

FROM base AS service
COPY deploy/ready.sh /usr/local/bin/ready
HEALTHCHECK --interval=3s --timeout=3s --start-period=60s --retries=3 CMD ["ready"]

FROM service AS order
COPY --from=build /out/order /usr/local/bin/
ENV HTTP_LISTEN=0.0.0.0:8081 OPERATIONS_LISTEN=0.0.0.0:9081
EXPOSE 8081 9081
CMD ["order"]

FROM service AS payment
COPY --from=build /out/payment /usr/local/bin/
ENV HTTP_LISTEN=0.0.0.0:8082 OPERATIONS_LISTEN=0.0.0.0:9082
EXPOSE 8082 9082
CMD ["payment"]

FROM service AS inventory
COPY --from=build /out/inventory /usr/local/bin/
ENV HTTP_LISTEN=0.0.0.0:8083 OPERATIONS_LISTEN=0.0.0.0:9083
EXPOSE 8083 9083
CMD ["inventory"]

FROM service AS notification
COPY --from=build /out/notification /usr/local/bin/
ENV HTTP_LISTEN=0.0.0.0:8084 OPERATIONS_LISTEN=0.0.0.0:9084
EXPOSE 8084 9084
CMD ["notification"]

FROM service AS analytics
COPY --from=build /out/analytics /usr/local/bin/
ENV HTTP_LISTEN=0.0.0.0:8085 OPERATIONS_LISTEN=0.0.0.0:9085
EXPOSE 8085 9085
CMD ["analytics"]

FROM service AS payment-provider
COPY --from=build /out/payment-provider /usr/local/bin/
# A new volume takes its owner from the folder in the image.
USER root
RUN install --directory --owner=saga /var/lib/payment-provider
USER saga
ENV HTTP_LISTEN=0.0.0.0:8090 OPERATIONS_LISTEN=0.0.0.0:9090 JOURNAL_PATH=/var/lib/payment-provider/journal.jsonl
EXPOSE 8090 9090
CMD ["payment-provider"]

FROM base AS sagactl
COPY --from=build /out/sagactl /usr/local/bin/
ENTRYPOINT ["sagactl"]
