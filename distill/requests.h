#pragma once
// What the commands of the teacher's side hand to liblancet_factory (cli/factory.h).

#include <filesystem>
#include <string>
#include <vector>

namespace lancet {

/// `lancet synthesize`: a job file, or seeds and a teacher.
struct SynthesizeRequest {
  std::filesystem::path job;  ///< JOB.yml; empty when seeds and teacher are given
};

/// `lancet curate`: rows in, rows that passed out.
struct CurateRequest {
  std::vector<std::filesystem::path> inputs;  ///< JSON lines
  std::filesystem::path output;
};

}  // namespace lancet
