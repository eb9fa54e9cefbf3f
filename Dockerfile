# The dashboard for a room, or as a Hugging Face Space: docs/serving.md.
#
#   docker build -t eqlin .                                               any machine; a GPU is used where one is given
#   docker build -t eqlin --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 .         on a base of CUDA
#   docker build -t eqlin --target offline .                              with the default model inside
#
# TORCH_INDEX is an index of packages to take torch from, such as that of PyTorch's much smaller builds for the CPU.
ARG BASE=python:3.12-slim

FROM ${BASE} AS built
ARG TORCH_INDEX=""
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# A base of CUDA brings no Python; the versions are those of the base's distribution.
# hadolint ignore=DL3008
RUN if ! command -v python3; then \
      apt-get update \
      && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi
RUN python3 -m venv /opt/eqlin
ENV PATH=/opt/eqlin/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
# What changes rarely comes first, so that a new version of the code does not fetch torch again.
COPY requirements.txt ./
# The login of Streamlit comes with it, in the version that is listed.
# hadolint ignore=DL3013
RUN pip install "$(grep '^torch==' requirements.txt)" ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
    && pip install -r requirements.txt "streamlit[auth]"
COPY . .
RUN pip install --no-deps .

FROM ${BASE} AS server
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN if ! command -v python3; then \
      apt-get update \
      && apt-get install -y --no-install-recommends python3 \
      && rm -rf /var/lib/apt/lists/*; \
    fi
# A Space runs as user 1000, which some bases have and some do not.
RUN (getent passwd 1000 || useradd --uid 1000 --no-create-home eqlin) \
    && mkdir -p /home/eqlin /cache \
    && chown 1000 /home/eqlin /cache
COPY --from=built /opt/eqlin /opt/eqlin
ENV PATH=/opt/eqlin/bin:$PATH \
    HOME=/home/eqlin \
    EQLIN_CACHE=/cache/eqlin \
    HF_HOME=/cache/huggingface \
    PYTHONUNBUFFERED=1
USER 1000
WORKDIR /home/eqlin
VOLUME /cache
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/_stcore/health', timeout=8)"]
ENTRYPOINT ["eqlin"]
CMD ["serve", "--host", "0.0.0.0", "--port", "7860", "--no-browser"]

# The default model lies outside the volume, which would hide it, and nothing is fetched any more.
FROM server AS offline
USER 0
RUN mkdir /opt/eqlin-cache && chown 1000 /opt/eqlin-cache
USER 1000
ENV EQLIN_CACHE=/opt/eqlin-cache
RUN python -c "from eqlin_core.models.bundled import bundled_directory; bundled_directory()"
ENV HF_HUB_OFFLINE=1

# Last, and so what is built unless a target is named.
FROM server
