# The image of `sluiceway serve`. Three stages: the locked dependencies, our wheel, and what runs: no compiler, no shell
# in any command that is run there, nobody's root, and nothing that must be written outside /var and /tmp.
#
#     docker build --tag sluiceway .
#     docker build --build-arg BASE=python:3.13-slim-trixie@sha256:… --tag sluiceway .     # pinned for good
#
# BASE is any Debian (13 for this tini) with Python 3.11 or later, pip and certificates. docs/kubernetes.md says more.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY deploy/requirements.txt deploy/requirements-build.txt /build/
RUN python3 -m venv --without-pip /opt/sluiceway \
 && python3 -m pip --python /opt/sluiceway install --require-hashes --only-binary :all: -r /build/requirements.txt \
 && python3 -m venv --without-pip /opt/tools \
 && python3 -m pip --python /opt/tools install --require-hashes --only-binary :all: -r /build/requirements-build.txt

FROM dependencies AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY connectors connectors
COPY loaders loaders
COPY state state
RUN /opt/tools/bin/hatchling build -t wheel -d /wheel \
 && python3 -m pip --python /opt/sluiceway install --no-index --no-deps --prefix /opt/ours /wheel/*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="Sluiceway" \
      org.opencontainers.image.description="Windowed loads into a warehouse, each window proven" \
      org.opencontainers.image.licenses="MIT"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini=0.19.* \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin \
 && groupadd --gid 10001 sluiceway \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/sluiceway --shell /usr/sbin/nologin sluiceway \
 && install --directory --owner 10001 --group 10001 --mode 0750 /etc/sluiceway /var/lib/sluiceway /var/spool/sluiceway
COPY --from=dependencies /opt/sluiceway /opt/sluiceway
COPY --from=wheel /opt/ours /opt/sluiceway
# PYTHONSAFEPATH: a module that lies in the working directory is not ours. Byte code was made when this was built.
ENV PATH=/opt/sluiceway/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/var/lib/sluiceway
USER 10001:10001
WORKDIR /var/lib/sluiceway
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/sluiceway/bin/python", "-I", "-c", "import http.client, sys; probe = http.client.HTTPConnection('127.0.0.1', 8080, timeout=4); probe.request('GET', '/healthz'); sys.exit(probe.getresponse().status != 200)"]
ENTRYPOINT ["tini", "--", "sluiceway"]
CMD ["serve", "/etc/sluiceway"]
