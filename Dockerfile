# SLM Lightning.  docker build -t slm-lightning .
# With CUDA:      docker build -t slm-lightning --build-arg TORCH_INDEX=<index of CUDA wheels> .
# Run:            docker run -v "$PWD/mlruns:/lab/mlruns" slm-lightning run specs/ppo/cartpole.json
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# Which build of torch: by default the one the package index gives; an index of CPU or CUDA wheels
# makes the image smaller or fit a driver.
ARG TORCH_INDEX=""

RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*  # updates are compiled (meta.compile)
RUN useradd --create-home lab
WORKDIR /lab
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY slm_lightning ./slm_lightning
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        --constraint constraints.txt .
COPY specs ./specs
RUN mkdir mlruns && chown -R lab:lab /lab

USER lab
ENV OMP_NUM_THREADS=1
ENTRYPOINT ["slm-lightning"]
CMD ["--help"]
