# `cmake --install build --prefix DIR`: a relocatable tree. bin/lancet, lib/liblancet_*.so, and the shared
# libraries of Debian that are not on every Linux, beside them. LibTorch is found at run time.
set(LANCET_INSTALL_RPATH "$ORIGIN/../lib:$ORIGIN")
set_target_properties(lancet PROPERTIES INSTALL_RPATH "${LANCET_INSTALL_RPATH}")
set_target_properties(lancet_base lancet_factory PROPERTIES INSTALL_RPATH "$ORIGIN")
# libcurl's own dependencies lie beside it: only the old tag is looked up for those, too.
target_link_options(lancet_factory PRIVATE -Wl,--disable-new-dtags)
install(TARGETS lancet RUNTIME DESTINATION bin)
install(TARGETS lancet_base lancet_factory LIBRARY DESTINATION lib)
install(TARGETS lancet_cell RUNTIME DESTINATION lib)  # no command: liblancet_factory looks for it beside itself
if(LANCET_BUILD_ENGINE)
  set_target_properties(lancet_engine PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS lancet_engine LIBRARY DESTINATION lib)
  install(CODE [[
    file(GET_RUNTIME_DEPENDENCIES LIBRARIES "${CMAKE_INSTALL_PREFIX}/lib/liblancet_engine.so"
      RESOLVED_DEPENDENCIES_VAR pictures UNRESOLVED_DEPENDENCIES_VAR missing
      PRE_INCLUDE_REGEXES "^lib(png|turbojpeg)" PRE_EXCLUDE_REGEXES ".*")
  ]])
endif()
if(TARGET lancet_cuda)
  set_target_properties(lancet_cuda PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS lancet_cuda LIBRARY DESTINATION lib)
endif()
install(DIRECTORY share/ DESTINATION share/lancet)
install(FILES LICENSE README.md DESTINATION share/doc/lancet)
install(CODE [[
  file(GET_RUNTIME_DEPENDENCIES
    LIBRARIES "${CMAKE_INSTALL_PREFIX}/lib/liblancet_base.so" "${CMAKE_INSTALL_PREFIX}/lib/liblancet_factory.so"
    RESOLVED_DEPENDENCIES_VAR found UNRESOLVED_DEPENDENCIES_VAR missing
    PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|gcc_s)\\.so")
  foreach(library IN LISTS found pictures)
    file(INSTALL "${library}" DESTINATION "${CMAKE_INSTALL_PREFIX}/lib" FOLLOW_SYMLINK_CHAIN)
  endforeach()
]])
