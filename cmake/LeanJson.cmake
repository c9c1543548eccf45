# A copy of nlohmann/json.hpp without its user-defined literals. They are inline functions, so that every source file
# that sees the header instantiates a whole second parser, unused: a second of compile time each. Where the text of
# the header is another one, it is taken as it is.
get_target_property(_json_dirs nlohmann_json::nlohmann_json INTERFACE_INCLUDE_DIRECTORIES)
find_file(_json_header nlohmann/json.hpp HINTS ${_json_dirs} NO_CACHE)
file(READ "${_json_header}" _json_text)
string(FIND "${_json_text}" "inline namespace literals" _begin)
string(FIND "${_json_text}" "}  // namespace literals" _end)
if(_begin GREATER 0 AND _end GREATER _begin)
  string(SUBSTRING "${_json_text}" 0 ${_begin} _head)
  string(SUBSTRING "${_json_text}" ${_end} -1 _tail)
  string(REPLACE "}  // namespace literals" "" _tail "${_tail}")
  file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/lean/nlohmann/json.hpp"
    CONTENT "#define JSON_USE_GLOBAL_UDLS 0\n@_head@@_tail@" @ONLY)
  target_include_directories(lancet_flags SYSTEM BEFORE INTERFACE "${CMAKE_BINARY_DIR}/lean")
endif()
