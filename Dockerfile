# Palimpsest in a container:
#
#     docker build -t palimp .
#     docker run --rm palimp keygen master
#
# docs/operating/deploy-with-containers.md says how it is run. tests/deploy/test_image.py carries out
# every instruction below without an engine.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/image.txt requirements/build.txt requirements/
RUN python -m venv /opt/palimp
RUN /opt/palimp/bin/python -m pip install --require-hashes -r requirements/image.txt
RUN python -m venv /opt/builder
RUN /opt/builder/bin/python -m pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY examples examples
COPY src src
RUN /opt/builder/bin/python -m pip wheel --no-deps --no-build-isolation -w dist .
RUN /opt/palimp/bin/python -m pip install --no-deps --no-index dist/*.whl
RUN /opt/palimp/bin/python -m pip uninstall --yes pip setuptools
COPY deploy/image/health.py deploy/image/make_bucket.py /opt/palimp/tools/

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="palimp" \
      org.opencontainers.image.description="Palimpsest: an agent-memory database" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/palimp /opt/palimp
RUN install -d -o 65532 -g 65532 -m 0700 /app/data
ENV HOME=/app \
    PALIMP_DATA_DIR=/app/data \
    PALIMP_LISTEN=0.0.0.0:8080 \
    PATH=/opt/palimp/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 65532:65532
VOLUME ["/app/data"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-I", "/opt/palimp/tools/health.py"]
ENTRYPOINT ["palimp"]
CMD ["serve"]
