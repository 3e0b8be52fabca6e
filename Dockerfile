# The build stage has what it takes to make things; the final one holds only what runs.
FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# hadolint ignore=DL3008 # Debian keeps no older version, so a pinned one could not be had for long
RUN apt-get -q update \
 && apt-get -q install -y --no-install-recommends tini
WORKDIR /src
# Libraries first: they change less often than our own files, so their layer is kept. One has no
# wheel; what builds it is locked, too, and nothing else is fetched for that.
COPY requirements.lock requirements-build.lock ./
RUN python -m pip install --require-hashes -r requirements-build.lock \
 && python -m pip wheel --require-hashes --no-deps --no-build-isolation \
      --wheel-dir /wheels -r requirements.lock \
 && python -m venv --without-pip /opt/announcer \
 && python -m pip --python /opt/announcer/bin/python install --no-deps --no-index /wheels/*.whl
COPY pyproject.toml README.md LICENSE ./
COPY announcer announcer
COPY templates templates
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && python -m pip --python /opt/announcer/bin/python install --no-deps --no-index /dist/*.whl

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="Announcer" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /usr/bin/tini /usr/bin/tini
COPY --from=build /opt/announcer /opt/announcer
# Any user may be chosen at the start, so both folders are open to all, like /tmp.
RUN install -d -m 1777 /data /templates
ENV PATH=/opt/announcer/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ANNOUNCER_HOST=0.0.0.0 \
    ANNOUNCER_PORT=8000 \
    ANNOUNCER_DATABASE_URL=sqlite:////data/announcer.db \
    ANNOUNCER_TEMPLATES=/templates
VOLUME ["/data", "/templates"]
# A relative path in a setting means the data volume.
WORKDIR /data
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Not urllib: it would ask a proxy from the environment.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys; \
door = http.client.HTTPConnection('127.0.0.1', int(os.environ['ANNOUNCER_PORT']), timeout=4); \
door.request('GET', '/healthz'); \
sys.exit(door.getresponse().status != 200)"]
# The kernel keeps SIGTERM from a process 1 that has no handler yet: as such, a service that is just
# starting, or `announcer check`, would not stop when told to.
ENTRYPOINT ["tini", "--", "announcer"]
CMD ["serve"]
