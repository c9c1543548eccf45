# lancet_precompile(TARGET HEADER): HEADER compiled once for all of TARGET.
# A precompiled header holds absolute paths, so ccache would never find in one clone what another has compiled. It is
# told to look at a sum beside it instead: of what the headers say and of the versions they include.
set(_headers core/precompiled.h model/precompiled.h cli/precompiled.h tests/catch.h tests/torch_catch.h)
set(LANCET_PRECOMPILED_SUM "${CMAKE_CXX_COMPILER_VERSION}")
foreach(_header IN LISTS _headers)
  file(SHA256 "${CMAKE_SOURCE_DIR}/${_header}" _sum)
  string(APPEND LANCET_PRECOMPILED_SUM " ${_sum}")
  set_property(DIRECTORY "${CMAKE_SOURCE_DIR}" APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/${_header}")
endforeach()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  set(CMAKE_CXX_COMPILE_OPTIONS_USE_PCH -include-pch <PCH_FILE>)
endif()

function(lancet_precompile target header)
  target_precompile_headers(${target} PRIVATE "${header}")
  if(CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    get_filename_component(name "${header}" NAME)
    set(versions "")
    foreach(package fmt nlohmann_json spdlog CLI11 Catch2 TBB LibTorch)
      string(APPEND versions " ${package} ${${package}_VERSION}")
    endforeach()
    file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${target}.dir/cmake_pch.hxx.pch.sum"
      CONTENT "${name} ${LANCET_PRECOMPILED_SUM}${versions}\n")
  endif()
endfunction()
