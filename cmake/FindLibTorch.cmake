# LibTorch from PyPI's torch wheel (or any LibTorch tree). TorchConfig.cmake of a CUDA wheel insists on a CUDA
# toolkit, so the imported targets are declared here: lancet::torch_cpu and, where its libraries lie beside it,
# lancet::torch_cuda. Looked for in LANCET_LIBTORCH, .venv, CMAKE_PREFIX_PATH, then `python3 -c "import torch"`.
set(LANCET_TORCH_VERSION 2.11.0)

set(_hints ${LANCET_LIBTORCH} $ENV{LANCET_LIBTORCH})
file(GLOB _venv "${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch")
list(APPEND _hints ${_venv} ${CMAKE_PREFIX_PATH})
find_path(LibTorch_ROOT include/ATen/ATen.h HINTS ${_hints} NO_DEFAULT_PATH)
if(NOT LibTorch_ROOT)
  execute_process(COMMAND python3 -c "import torch,os;print(os.path.dirname(torch.__file__))"
    OUTPUT_VARIABLE _python OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_path(LibTorch_ROOT include/ATen/ATen.h HINTS ${_python} NO_DEFAULT_PATH)
endif()
if(NOT LibTorch_ROOT)
  message(FATAL_ERROR "LibTorch ${LANCET_TORCH_VERSION} not found. Run: bash scripts/setup.sh")
endif()

file(STRINGS "${LibTorch_ROOT}/include/torch/headeronly/version.h" _version REGEX "TORCH_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
string(REGEX REPLACE "[^0-9]*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" LibTorch_VERSION "${_version}")
if(NOT LibTorch_VERSION VERSION_EQUAL LANCET_TORCH_VERSION)
  message(FATAL_ERROR "LibTorch in ${LibTorch_ROOT} is ${LibTorch_VERSION}; lancet is built against ${LANCET_TORCH_VERSION}. "
    "Run: bash scripts/setup.sh")
endif()

add_library(lancet::torch_cpu INTERFACE IMPORTED)
target_include_directories(lancet::torch_cpu SYSTEM INTERFACE
  "${LibTorch_ROOT}/include" "${LibTorch_ROOT}/include/torch/csrc/api/include")
target_link_libraries(lancet::torch_cpu INTERFACE
  "${LibTorch_ROOT}/lib/libtorch_cpu.so" "${LibTorch_ROOT}/lib/libc10.so")
# The CPU half of a CUDA build refers to the CUDA runtime and CUPTI beside it; its own RPATH finds them.
target_link_options(lancet::torch_cpu INTERFACE "LINKER:--allow-shlib-undefined")
message(STATUS "LibTorch ${LibTorch_VERSION}: ${LibTorch_ROOT}")
