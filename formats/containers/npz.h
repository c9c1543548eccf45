#pragma once
// NumPy's .npz: an uncompressed zip of .npy arrays, read strictly. Written by numpy.savez, which
// forces ZIP64 local headers, so sizes come from the central directory and only the data offset
// from the local header.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/file.h"

namespace lancet {

struct NpyArray {
  std::string name;   ///< member name without ".npy"
  std::string descr;  ///< NumPy type: "<f4", "<f8", "<i8", "<U12", ...
  std::vector<std::int64_t>
      shape;  ///< C order; a Fortran-ordered array has its dimensions as NumPy says
  bool fortran = false;
  Bytes data;  ///< inside the mapping
};

/// All members of `file`. kInput with the byte offset: not a zip, compressed or encrypted members,
/// sizes that do not fit, overlapping members, names twice, npy headers other than
/// versions 1.0, 2.0 and 3.0, object arrays.
[[nodiscard]] std::vector<NpyArray> parse_npz(Bytes file, std::string_view source);

/// The same of one array: a whole .npy file.
[[nodiscard]] NpyArray parse_npy(Bytes file, std::string_view source);

/// Element `i` of a little-endian f4, f8, i4 or i8 array as a number (kInput for another type).
[[nodiscard]] double npy_number(const NpyArray& array, std::uint64_t i, std::string_view source);

/// An array to write: little-endian data in C order, which must live until it is written.
struct NpyOutput {
  std::string name;   ///< member name without ".npy"
  std::string descr;  ///< "<f4", "<f8", "<i8", "<U12", ...
  std::vector<std::int64_t> shape;
  Bytes data;
};

/// Writes what numpy.savez would: stored members with ZIP64 local headers, npy version 1.0. The
/// bytes depend on the arrays only. kInternal when the data do not fill the shape.
void save_npz(const fs::path& path, const std::vector<NpyOutput>& arrays);

}  // namespace lancet
