# One image for every service; who starts it says which: `python -m services.registry`, puller, ingest or client.
# Operators have `pullsync` in it: docker compose exec registry pullsync status.
# Health checks are in docker-compose.yml, because each service has its own.

FROM python:3.13-slim AS build

# For `strip`, which this stage alone needs.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils >/dev/null && rm -rf /var/lib/apt/lists/*
# The venv gets no pip: what is installed here is all that the final image has. A third of it would be debug symbols.
RUN python -m venv --without-pip /venv
COPY requirements.txt /build/
RUN pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
    --only-binary=:all: --require-hashes -r /build/requirements.txt \
    && find /venv -name '*.so*' -type f -exec strip --strip-debug {} +

COPY shared /app/shared
COPY services /app/services
COPY cli /app/cli
# Readable by everybody and writable by nobody, whatever the umask of the checkout was; `pullsync` is on PATH.
RUN python -m compileall -q /app && chmod -R a=rX /app && chmod a+x /app/cli/pullsync \
    && ln -s /app/cli/pullsync /venv/bin/pullsync


FROM python:3.13-slim

# /data for anybody: with docker-compose.tls.yml the client may run as somebody else.
RUN pip uninstall --yes --quiet --root-user-action=ignore pip \
    && groupadd --gid 10001 pullsync \
    && useradd --uid 10001 --gid pullsync --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pullsync \
    && install -d -o pullsync -g pullsync -m 1777 /data

COPY --from=build /venv /venv
COPY --from=build /app /app

ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MALLOC_ARENA_MAX=2 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
