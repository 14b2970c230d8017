# oss_emulated_cuda: the module of kernels/cuda for the emulated GPU. It is linked into oss_tests, or into a
# libgptoss_cuda that the addon opens ($<TARGET_OBJECTS:oss_emulated_cuda> and threads). If it is not available,
# OSS_EMULATED_GPU_ABSENT holds the reason. OSS_EMULATOR_TESTS are the tests of the emulator itself. Included by
# test/CMakeLists.txt.
option(OSS_EMULATED_GPU "run the CUDA kernels' tests on an emulated GPU" ON)
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64|aarch64|arm64")
  set(OSS_EMULATED_GPU_ABSENT "there is none for ${CMAKE_SYSTEM_NAME} on ${CMAKE_SYSTEM_PROCESSOR}")
elseif(NOT OSS_EMULATED_GPU)
  set(OSS_EMULATED_GPU_ABSENT "switched off with OSS_EMULATED_GPU")
elseif(OSS_SANITIZE MATCHES "thread")
  set(OSS_EMULATED_GPU_ABSENT "its fibers are beyond ThreadSanitizer")
endif()
if(OSS_EMULATED_GPU_ABSENT)
  return()
endif()

set(emu ${CMAKE_CURRENT_LIST_DIR})
file(GLOB emulated_kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/cuda/*.cu)
file(GLOB emulator ${emu}/*.cpp ${emu}/ptx/*.cpp)
list(FILTER emulator EXCLUDE REGEX "_test\\.cpp$")
add_library(oss_emulated_cuda STATIC EXCLUDE_FROM_ALL ${emulated_kernels} ${emulator})
target_include_directories(oss_emulated_cuda BEFORE PRIVATE ${emu}/include)  # its ptx/ hides the one of kernels/cuda
target_compile_definitions(oss_emulated_cuda PRIVATE "OSS_CUDA_ARCHITECTURES=\"emulated\"")
target_compile_options(oss_emulated_cuda PRIVATE -ftrivial-auto-var-init=pattern)  # a forgotten sum must not be zero
target_compile_options(oss_emulated_cuda PRIVATE -O2)  # with sanitizers too, because whole models run on it
target_link_libraries(oss_emulated_cuda PUBLIC Threads::Threads)

# Like nvcc: the runtime's header is included first, and `#pragma unroll` is accepted.
file(GLOB OSS_EMULATOR_TESTS CONFIGURE_DEPENDS ${emu}/*_test.cpp)
set_source_files_properties(${emulated_kernels} ${OSS_EMULATOR_TESTS} PROPERTIES
  LANGUAGE CXX
  INCLUDE_DIRECTORIES ${emu}/include
  COMPILE_OPTIONS "-include;cuda_runtime.h;-Wno-unknown-pragmas")
