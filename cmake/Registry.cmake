# lancet_registry(NAME TYPE FOLDER HEADER): a generated table of the descriptors of one folder.
# Every FOLDER/x.cpp defines `extern const TYPE NAME_x` in namespace lancet; the table makes them known as
# `std::span<const TYPE* const> NAME_registry()`, sorted by file name. Sets NAME_registry to the source file.
function(lancet_registry name type folder header)
  file(GLOB files CONFIGURE_DEPENDS "${folder}/*.cpp")
  list(SORT files)
  set(declarations "")
  set(entries "")
  foreach(file IN LISTS files)
    get_filename_component(stem "${file}" NAME_WE)
    string(APPEND declarations "extern const ${type} ${name}_${stem};\n")
    string(APPEND entries "    &${name}_${stem},\n")
  endforeach()
  set(out "${CMAKE_BINARY_DIR}/generated/registry/${name}_registry.cpp")
  file(CONFIGURE OUTPUT "${out}" CONTENT "// Generated from the file names of ${name} descriptors.
#include <array>
#include <span>

#include \"${header}\"

namespace lancet {

${declarations}
std::span<const ${type}* const> ${name}_registry() {
  static const std::array table{
${entries}  };
  return table;
}

}  // namespace lancet
")
  set(${name}_registry "${out}" PARENT_SCOPE)
endfunction()

# lancet_names(FILE NAME FOLDER...): a generated header with `NAME_names`, the file names of each FOLDER's descriptors,
# which are their names: for those who may not load what holds the descriptors.
function(lancet_names file)
  set(lists "")
  while(ARGN)
    list(POP_FRONT ARGN name folder)
    file(GLOB files CONFIGURE_DEPENDS "${folder}/*.cpp")
    list(SORT files)
    set(words "")
    foreach(source IN LISTS files)
      get_filename_component(stem "${source}" NAME_WE)
      string(APPEND words " ${stem}")
    endforeach()
    string(STRIP "${words}" words)
    string(APPEND lists "inline constexpr std::string_view ${name}_names = \"${words}\";\n")
  endwhile()
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/generated/registry/${file}" CONTENT "#pragma once
// Generated from the file names of descriptors, with blanks between them.
#include <string_view>

namespace lancet {

${lists}
}  // namespace lancet
")
endfunction()
