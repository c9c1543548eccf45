#!/usr/bin/env bash
# Installs what lancet is built from: Debian packages, and LibTorch from its PyPI wheel into .venv.
#   setup.sh           build dependencies (idempotent; quick when nothing is missing)
#   setup.sh --tests   also the reference libraries that tests compare with, into .venv-oracle, .venv-mergekit,
#                      .venv-datasketch, and a small teacher's server into .venv-teacher
#   setup.sh --cuda    also the CUDA 13 libraries as wheels, for machines with a GPU
#   setup.sh --dev     also clang, clang-format and clang-tidy
set -euo pipefail
cd "$(dirname "$0")/.."

tests=0 cuda=0 dev=0
for arg in "$@"; do
  case "$arg" in
    --tests) tests=1 ;;
    --cuda) cuda=1 ;;
    --dev) dev=1 ;;
    -h | --help) sed -n '2,7p' "$0" | cut -c3-; exit 0 ;;
    *) echo "setup.sh: unknown option '$arg' (see --help)" >&2; exit 2 ;;
  esac
done

packages=(clang g++ cmake ninja-build ccache git python3 python3-venv ca-certificates
  libtbb-dev libcli11-dev catch2 nlohmann-json3-dev libyaml-cpp-dev libfmt-dev libspdlog-dev
  libpcre2-dev libutf8proc-dev libssl-dev zlib1g-dev libcurl4-openssl-dev libseccomp-dev bubblewrap
  libgloo-dev libpng-dev libturbojpeg0-dev)
((tests || dev)) && packages+=(libclang-rt-14-dev)
((tests)) && packages+=(zsh fish) # what they complete is tested
((dev)) && packages+=(clang-format clang-tidy libclang-14-dev llvm-14-dev)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "setup: installing ${missing[*]}"
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  export DEBIAN_FRONTEND=noninteractive
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# install VENV STAMP-TEXT pip-arguments...: runs pip once for each distinct list of requirements.
install() {
  local venv=$1 key=$2
  shift 2
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  [ "$(cat "$venv/.stamp-$key" 2>/dev/null)" = "$*" ] && return 0
  echo "setup: $venv: pip install $*"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir "$@"
  echo "$*" >"$venv/.stamp-$key"
}

torch=2.11.0 # the same number stands in cmake/FindLibTorch.cmake
# LibTorch's CPU half needs of CUDA only the runtime and CUPTI.
install .venv torch --no-deps "torch==$torch" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
if ((cuda)); then
  install .venv cuda --no-deps nvidia-cublas==13.1.0.3 nvidia-cudnn-cu13==9.19.0.56 nvidia-cufft==12.0.0.61 \
    nvidia-cufile==1.15.1.6 nvidia-curand==10.4.0.35 nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3 \
    nvidia-cusparselt-cu13==0.8.0 nvidia-nccl-cu13==2.28.9 nvidia-nvjitlink==13.0.88 \
    nvidia-nvshmem-cu13==3.4.5 nvidia-nvtx==13.0.85 nvidia-cuda-nvrtc==13.0.88
fi
if ((tests)); then
  install .venv-oracle oracle "torch==$torch" transformers==5.17.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2 tiktoken==0.14.0 safetensors==0.8.0 \
    gguf==0.19.0 peft==0.21.2 jinja2==3.1.6 numpy pillow==13.0.0
  # The reader of event files alone: what it imports for them is there already.
  install .venv-oracle tensorboard --no-deps tensorboard==2.20.0 absl-py==2.5.1
  bash scripts/teacher.sh --install
  install .venv-datasketch datasketch datasketch==1.6.5 numpy==2.4.6 scipy==1.17.1
  # mergekit pins what it stands on, so it has an environment of its own, which borrows the packages of the other one.
  install .venv-mergekit mergekit --no-deps mergekit==0.1.5 immutables==0.21
  echo "$PWD/.venv-oracle/lib/$(ls .venv-oracle/lib | head -n 1)/site-packages" >"$(echo .venv-mergekit/lib/python3*/site-packages)/oracle.pth"
fi
