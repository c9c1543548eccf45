#pragma once
// Catch2 2.13 (Debian 12), and a skip that ctest reports as skipped.

#include <iostream>

#include <catch2/catch.hpp>

/// Ends the test case as "skipped" (ctest: SKIP_REGULAR_EXPRESSION), e.g. where the embedded model
/// is missing.
#define LANCET_SKIP(reason)                            \
  do {                                                 \
    std::cout << "SKIPPED: " << (reason) << std::endl; \
    SUCCEED();                                         \
    return;                                            \
  } while (false)
