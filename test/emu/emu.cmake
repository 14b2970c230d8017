# oss_emulated_cuda: the module of kernels/cuda for the emulated GPU, to be linked into oss_tests, or made a
# libgptoss_cuda that the addon opens ($<TARGET_OBJECTS:oss_emulated_cuda> and threads). Not defined where the emulator
# cannot switch stacks. Included by CMakeLists.txt, which gives the tests of test/emu to oss_tests.
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64|aarch64|arm64")
  return()
endif()

set(emu ${CMAKE_SOURCE_DIR}/test/emu)
file(GLOB emulated_kernels CONFIGURE_DEPENDS kernels/cuda/*.cu)
file(GLOB emulator ${emu}/*.cpp ${emu}/ptx/*.cpp)
list(FILTER emulator EXCLUDE REGEX "_test\\.cpp$")
add_library(oss_emulated_cuda STATIC EXCLUDE_FROM_ALL ${emulated_kernels} ${emulator})
target_include_directories(oss_emulated_cuda BEFORE PRIVATE ${emu}/include)  # its ptx/ hides that of kernels/cuda
target_compile_definitions(oss_emulated_cuda PRIVATE "OSS_CUDA_ARCHITECTURES=\"emulated\"")
target_compile_options(oss_emulated_cuda PRIVATE -ftrivial-auto-var-init=pattern)  # a forgotten sum is no zero either
target_compile_options(oss_emulated_cuda PRIVATE -O2)  # with sanitizers too: whole models run on it
target_link_libraries(oss_emulated_cuda PUBLIC Threads::Threads)

# Fibers are beyond ThreadSanitizer, and one thread runs them at a time; the host's calls it sees all the same.
if(OSS_SANITIZE MATCHES "thread")
  target_compile_options(oss_emulated_cuda PRIVATE -fno-sanitize=thread)
  set(not_thread ";-fno-sanitize=thread")
endif()

# As nvcc does: the runtime's header comes first, and `#pragma unroll` is known.
file(GLOB emulator_tests CONFIGURE_DEPENDS ${emu}/*_test.cpp)
set_source_files_properties(${emulated_kernels} ${emulator_tests} PROPERTIES
  LANGUAGE CXX
  INCLUDE_DIRECTORIES ${emu}/include
  COMPILE_OPTIONS "-include;cuda_runtime.h;-Wno-unknown-pragmas${not_thread}")
