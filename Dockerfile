# avcheck on the CPU. The check needs neither the network nor a place to write:
#   docker build -t avcheck .
#   docker run --rm --network none --read-only --tmpfs /tmp --cap-drop ALL -v "$PWD:/media:ro" avcheck film.mp4
FROM python:3.11.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/avcheck
# Before the sources, so that a change of avcheck does not load torch again.
RUN /opt/avcheck/bin/pip install --index-url https://download.pytorch.org/whl/cpu 'torch>=2.13,<2.14'
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY avcheck avcheck
RUN /opt/avcheck/bin/pip install .

FROM python:3.11.13-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin avcheck
COPY --from=build /opt/avcheck /opt/avcheck
ENV PATH=/opt/avcheck/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /media
ENTRYPOINT ["avcheck"]
CMD ["--help"]
