# generated/version.h: version and commit of this build.
execute_process(COMMAND git -C "${CMAKE_SOURCE_DIR}" rev-parse --short=12 HEAD
  OUTPUT_VARIABLE LANCET_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT LANCET_COMMIT)
  set(LANCET_COMMIT "unknown")
endif()
file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/generated/version.h" CONTENT "#pragma once
#define LANCET_VERSION \"@PROJECT_VERSION@\"
#define LANCET_COMMIT \"@LANCET_COMMIT@\"
#define LANCET_LIBTORCH_VERSION \"2.11.0\"
" @ONLY)
