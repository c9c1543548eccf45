# Warnings, sanitizers, ccache and RPATHs: one interface target that all of ours link.
add_library(lancet_flags INTERFACE)
target_compile_options(lancet_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
  -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wformat=2 -Werror
  # Designated initialisers leave out what has a default: that is their point.
  -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # gcc 12 reports false positives of these inside standard headers at -O2 and above.
  target_compile_options(lancet_flags INTERFACE -Wno-maybe-uninitialized -Wno-stringop-overflow
    -Wno-array-bounds -Wno-restrict -Wno-dangling-pointer -Wno-stringop-overread)
endif()

# Floating point stays strict: no contraction into FMA that the source does not ask for, so that every
# machine computes the same bytes.
target_compile_options(lancet_flags INTERFACE -ffp-contract=off)

# A library calls its own functions itself: not through a table, and not the executable's copy of an inline one, which is
# compiled at -O0.
target_link_options(lancet_flags INTERFACE "$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,SHARED_LIBRARY>:-Wl,-Bsymbolic-functions>")

if(LANCET_SANITIZE)
  add_compile_options(-fsanitize=${LANCET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${LANCET_SANITIZE})
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_PCH_EXTSUM=1 "${CCACHE}")
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>
    "$<$<COMPILE_LANG_AND_ID:CXX,Clang>:SHELL:-Xclang -fno-pch-timestamp>")
endif()

# Libraries of ours lie beside the executable in the build tree and in ../lib when installed.
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
