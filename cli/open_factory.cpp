// Loads liblancet_factory and hands out the factory.

#include <dlfcn.h>

#include "cli/factory.h"
#include "cli/library.h"
#include "core/error.h"

namespace lancet {

Factory& open_factory() {
  static Factory* factory = nullptr;
  if (factory != nullptr) return *factory;
  void* handle = load_library(our_library("liblancet_factory.so"), RTLD_LOCAL, "factory",
                              "install libcurl4 and libseccomp2, or use the installed tree whole");
  using Instance = Factory* (*)();
  const auto instance = reinterpret_cast<Instance>(dlsym(handle, "lancet_factory_instance"));
  if (instance == nullptr)
    fail(ErrorKind::kInternal, "factory", "liblancet_factory has no entry point");
  factory = instance();
  return *factory;
}

}  // namespace lancet
