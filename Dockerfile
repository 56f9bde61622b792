# syntax=docker/dockerfile:1
# The studio on a server of one's own: docs/hosting.md. For the CPU; for an NVIDIA GPU: --build-arg DEVICE=cuda.
FROM python:3.12-slim-bookworm

# cpu: PyTorch's own builds without CUDA, 0.2 GB in place of 5. cuda: those of the lock file.
ARG DEVICE=cpu
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /srv/frami
COPY requirements.lock ./
# All hashes are checked, but those of the two packages that come from the other index, in the lock file's versions. The
# lock file is complete: what a package asks for beside it (another torch) is not looked for.
RUN set -eu; \
    case "$DEVICE" in \
    cuda) cp requirements.lock /tmp/these.lock ;; \
    cpu) \
        grep -oE '^torch(audio)?==[0-9.]+' requirements.lock > /tmp/torch.txt; \
        pip install --no-cache-dir --no-deps --index-url "$CPU_INDEX" -r /tmp/torch.txt; \
        awk '/^[a-z0-9]/ { wanted = $0 !~ /^(cuda-|nvidia-|triton==|torch==|torchaudio==)/ } wanted' \
            requirements.lock > /tmp/these.lock ;; \
    *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac; \
    pip install --no-cache-dir --no-deps --require-hashes -r /tmp/these.lock; \
    rm -f /tmp/torch.txt /tmp/these.lock

COPY LICENSE CITATION.cff app.py ./
COPY frami ./frami
COPY assets ./assets
COPY checkpoints ./checkpoints
# What the Method tab reads.
COPY docs/results/distillation.md docs/results/strangers.md ./docs/results/

# All that is written lies in /data: name a volume there, or it lasts as long as the container.
RUN useradd --uid 1000 --create-home studio && install -d -o studio -g studio /data
USER 1000
ENV FRAMI_HOME=/data \
    FRAMI_HOSTED=1 \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_TEMP_DIR=/data/uploads \
    PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
CMD ["python", "app.py"]
