# One image per service: docker build --build-arg SERVICE=users -t quartet-users .
# Plain instructions only, so that buildah, Docker's legacy builder and BuildKit all build it.

# The same for every service, and made again only when the lock changes.
FROM python:3.13-slim AS dependencies
# Another package index, where there is one.
ARG PIP_INDEX_URL
COPY requirements/runtime.lock deploy/images/trim.py deploy/images/library.py /tmp/
# Bytecode goes by hashes of the sources, since times differ from build to build. Of packages there
# is nothing else: their sources, a sixth of all that comes to the base, are those that the lock names.
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --no-compile --no-deps \
        --only-binary :all: --require-hashes -r /tmp/runtime.lock \
    && python /tmp/trim.py /venv/lib \
    && python -m compileall -q -b --invalidation-mode unchecked-hash /venv/lib \
    && find /venv/lib -name '*.py' -delete \
    && /venv/bin/python /tmp/library.py /library
# `skaffold debug` says so here, and has a debugger in its images.
ARG SKAFFOLD_RUN_MODE
COPY requirements/debug.lock /tmp/
RUN if [ "$SKAFFOLD_RUN_MODE" = debug ]; then \
        python -m pip --python /venv/bin/python install --no-cache-dir --no-deps \
            --only-binary :all: --require-hashes -r /tmp/debug.lock; \
    fi

FROM dependencies AS code
ARG SERVICE
WORKDIR /app
COPY shared shared
COPY services/__init__.py services/
COPY services/$SERVICE services/$SERVICE
# The link lets one exec-form entry point start whichever service is inside.
RUN ln -s "services/${SERVICE:?name it with --build-arg SERVICE=…}" service \
    && test -f service/__main__.py \
    && python -m compileall -q --invalidation-mode checked-hash shared services

FROM python:3.13-slim
COPY --from=dependencies /library /usr/local/lib/python3.13
COPY --from=dependencies /venv /venv
COPY --from=code /app /app
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="quartet-$SERVICE" \
      org.opencontainers.image.description="The $SERVICE service of Quartet" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# Loopback, the default of every service, can't be reached from outside a container.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    QUARTET_HOST=0.0.0.0
WORKDIR /app
USER 10001:10001
ENTRYPOINT ["python", "-m", "service"]
