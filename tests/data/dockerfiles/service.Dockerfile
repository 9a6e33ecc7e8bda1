# syntax=docker/dockerfile:1
ARG RELEASE=bookworm
FROM debian:${RELEASE}-slim AS base
ARG UID=10001
LABEL org.opencontainers.image.title="service"
ENV LANG=C.UTF-8 \
    APP_HOME=/app
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid $UID app

FROM base AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        # a compiler
        gcc \
        libc6-dev
WORKDIR /build
COPY --link src/ src/
RUN --mount=type=cache,target=/root/.cache gcc -o service src/*.c

FROM alpine AS never
RUN apk add curl
ONBUILD RUN true

FROM base
WORKDIR $APP_HOME
COPY --from=build --chown=app /build/service bin/
COPY <<EOT /etc/service.conf
home = $APP_HOME
EOT
ADD https://example.com/data.json /usr/share/data.json
VOLUME /data
EXPOSE 8080
USER app
STOPSIGNAL SIGINT
HEALTHCHECK CMD ["bin/service", "--check"]
SHELL ["/bin/bash", "-c"]
RUN echo "${BASH_VERSION}" > version
ENTRYPOINT ["bin/service"]
CMD ["--port", "8080"]
